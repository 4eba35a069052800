-- erasures v1: ask for the erasure of a key.                                        Called by state/erasures.py: ask
-- KEYS[1] list of requests  KEYS[2] the key's request, both under one hash tag
-- ARGV[1] key id  ARGV[2] until when, us  ARGV[3] how long a request is remembered, sec  ARGV[4] most requests
-- Returns 1, or 0 when too many are remembered: then nothing was done
-- Time    ARGV[2] is the caller's; requests older than ARGV[3] by it are forgotten
local at_ms = math.floor(tonumber(ARGV[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at_ms - ARGV[3] * 1000)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('ZADD', KEYS[1], at_ms, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'at', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
