-- workers v1: who is alive.    Called by state/ownership.py: beat, leave; and for the gateways by state/gateways.py
-- KEYS[1] registry zset     ARGV[1] beat | leave   ARGV[2] worker id   ARGV[3] registration, ms   ARGV[4] most members
--                           ARGV[5] optional: another id under which it was known until now
-- Returns  number of live workers after the call
-- State    zset worker id -> end of registration; time is the server's, ms; TTL one registration
-- Cost     O(log n) plus those that ended
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if ARGV[5] and ARGV[5] ~= '' then
  redis.call('ZREM', KEYS[1], ARGV[5])
end
if ARGV[1] == 'leave' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[2])
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('ZCARD', KEYS[1])
