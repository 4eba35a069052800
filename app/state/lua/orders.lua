-- orders v1: the list of all orders, and when each has to be looked at.     Called by state/orders.py and order_repair.py
-- KEYS[1] stream of changes  KEYS[2] hash of orders  KEYS[3] zset of what is due
-- ARGV[1] place | swap | later | claim
--         place: key id, entry, ms from now until its next look, longest stream, most entries
--         swap:  key id, entry that is expected there, new one ("" removes it), ms until its next look, longest stream
--         later: key id, entry that is expected there, ms until its next look
--         claim: ms until the next look at what is given out, most of them
-- Returns  place: {entry as it is stored, the one that was there, "" for none}, or -1 when there are too many; swap, later:
--          1, or 0 when another entry is there; claim: {key id, entry, …} of those whose time has come
-- State    An entry is stored as "<number> <entry>"; the number only grows, so that partitions tell the later of two orders.
--          Every entry of the stream names the one before it (p), as in control.lua. Times are the server's, in ms.
-- Cost     O(log n); claim: for each that is given out
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local what, key = ARGV[1], ARGV[2]

local function say(most)
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  local before = newest[1] and newest[1][1] or '0-0'
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', most, '*', 'p', before, 'w', 'order', 'k', key)
end

if what == 'place' then
  local before = redis.call('HGET', KEYS[2], key)
  if not before and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[6]) then
    return -1
  end
  local ms, sequence = string.match(say(ARGV[5]), '(%d+)-(%d+)')
  local entry = string.format('%.0f ', ms * 1000 + math.min(tonumber(sequence), 999)) .. ARGV[3]
  redis.call('HSET', KEYS[2], key, entry)
  redis.call('ZADD', KEYS[3], now_ms + ARGV[4], key)
  return {entry, before or ''}
end

if what == 'claim' then
  local found = {}
  for _, due in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms, 'LIMIT', 0, ARGV[3])) do
    local entry = redis.call('HGET', KEYS[2], due)
    if entry then
      redis.call('ZADD', KEYS[3], now_ms + ARGV[2], due)
      found[#found + 1] = due
      found[#found + 1] = entry
    else
      redis.call('ZREM', KEYS[3], due)
    end
  end
  return found
end

if redis.call('HGET', KEYS[2], key) ~= ARGV[3] then
  return 0
end
if what == 'later' then
  redis.call('ZADD', KEYS[3], now_ms + ARGV[4], key)
  return 1
end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[2], key)
  redis.call('ZREM', KEYS[3], key)
else
  redis.call('HSET', KEYS[2], key, ARGV[4])
  redis.call('ZADD', KEYS[3], now_ms + ARGV[5], key)
end
say(ARGV[6])
return 1
