-- intel_publication v1: keep what is published, and let each step happen once.  Called by state/intel_published.py
-- KEYS[1] hash of the publication  KEYS[2] zset of all, id -> when its record ends, ms
-- KEYS[3] set of the ids whose objects are not all in the feed  KEYS[4] string, id of the campaign's newest one that stands
-- KEYS[5] hash of the one that it follows, or of itself
-- ARGV[1] what, ARGV[2] id, ARGV[3] life of the record, ms; then
--   create   most records, field, value, …
--   refuse   field, value, …                      of a proposed one
--   publish  id that it follows or "", field, value, …   of a proposed one that can still be approved
--   retract  field, value, …                      of a published one that is the newest
--   sent     status that was sent
-- Returns  1 done; 0 not in the status, or no room for one more; -1 there is no such one; -2 another was published since
-- Time     server TIME, ms, for the end of a proposal and for records that have ended
-- Cost     O(fields); O(log n) for the zset
local what, id, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function keep(first)
  redis.call('HSET', KEYS[1], unpack(ARGV, first))
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('ZADD', KEYS[2], now + life, id)
  redis.call('PEXPIREAT', KEYS[2], redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
end

if what == 'create' then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) or redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
  end
  keep(5)
  return 1
end

local found = redis.call('HMGET', KEYS[1], 'status', 'until_ms')
if not found[1] then
  redis.call('SREM', KEYS[3], id)
  return -1
end
if what == 'sent' then
  if found[1] ~= ARGV[4] then
    return 0
  end
  redis.call('SREM', KEYS[3], id)
  return 1
end
if what == 'refuse' then
  if found[1] ~= 'proposed' then
    return 0
  end
  keep(4)
  return 1
end
local newest = redis.call('GET', KEYS[4]) or ''
if what == 'publish' then
  if found[1] ~= 'proposed' or tonumber(found[2]) <= now then
    return 0
  end
  if newest ~= ARGV[4] then
    return -2
  end
  if newest ~= '' and redis.call('HGET', KEYS[5], 'status') == 'published' then
    redis.call('HSET', KEYS[5], 'status', 'replaced')
    redis.call('SREM', KEYS[3], newest)
  end
  keep(5)
  redis.call('SET', KEYS[4], id, 'PX', life)
else
  if found[1] ~= 'published' then
    return 0
  end
  if newest ~= id then
    return -2
  end
  keep(4)
  redis.call('DEL', KEYS[4])
end
redis.call('SADD', KEYS[3], id)
redis.call('PEXPIRE', KEYS[3], life)
return 1
