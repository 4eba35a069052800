-- tokens v1: keep one more admin token, unless there are too many.                     Called by state/tokens.py: add
-- KEYS[1] hash of tokens   ARGV[1] id   ARGV[2] record   ARGV[3] most tokens there may be
-- Returns  1 kept, or the very same was kept before; 0 there are too many, or the id is taken
-- Cost     O(1)
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return 1
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
