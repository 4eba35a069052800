-- intel_status v1: keep the status of a member's request, the newest of them.      Called by state/intel_polls.py: keep
-- KEYS[1] hash of statuses  KEYS[2] list of their ids, newest first   ARGV[1] id  ARGV[2] status  ARGV[3] most  ARGV[4] TTL, sec
-- Returns  1
-- Cost     O(1)
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
while redis.call('LLEN', KEYS[2]) > tonumber(ARGV[3]) do
  redis.call('HDEL', KEYS[1], redis.call('RPOP', KEYS[2]))
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
