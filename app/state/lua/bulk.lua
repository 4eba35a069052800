-- bulk v1: keep an order about many keys, and let exactly one process carry it out.        Called by state/bulks.py
-- KEYS[1] hash of the order  KEYS[2] its keys, packed  KEYS[3] zset of all orders, id -> when its record ends, ms
-- KEYS[4] set of the ids that are being carried out
-- ARGV[1] what, ARGV[2] id, ARGV[3] life of the record, ms; then
--   create  most records, packed keys, field, value, …
--   move    status that it must have, field, value, …
--   take    who, life of the lease, ms
--   step    who, life of the lease, status that it must have, field, value, …   (who carries it out goes on and says so)
-- Returns  1 done; 0 not in that status, in another's hands, or no room for one more; -1 there is no such order
-- Time     server TIME, ms, for leases and for records that have ended
-- Cost     O(fields); O(log n) for the zset
local RUNNING = {applying = true, undoing = true}
local RUNNING_MS = 40 * 86400000 -- longer than any record lives
local what, id, life = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function keep(first)
  redis.call('HSET', KEYS[1], unpack(ARGV, first))
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('PEXPIRE', KEYS[2], life)
  if RUNNING[redis.call('HGET', KEYS[1], 'status')] then
    redis.call('SADD', KEYS[4], id)
    redis.call('PEXPIRE', KEYS[4], RUNNING_MS)
  else
    redis.call('SREM', KEYS[4], id)
  end
end

if what == 'create' then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) or redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
  end
  redis.call('SET', KEYS[2], ARGV[5])
  keep(6)
  redis.call('ZADD', KEYS[3], now + life, id)
  redis.call('PEXPIREAT', KEYS[3], redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2])
  return 1
end

local found = redis.call('HMGET', KEYS[1], 'status', 'owner', 'owned')
if not found[1] then
  redis.call('SREM', KEYS[4], id)
  return -1
end
if what == 'move' then
  if found[1] ~= ARGV[4] then
    return 0
  end
  keep(5)
  return 1
end
if found[2] and found[2] ~= ARGV[4] and tonumber(found[3]) > now then
  return 0
end
if what == 'step' then
  if found[1] ~= ARGV[6] or found[2] ~= ARGV[4] then
    return 0
  end
  keep(7)
end
local going = RUNNING[redis.call('HGET', KEYS[1], 'status')]
redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'owned', going and now + ARGV[5] or 0)
return 1
