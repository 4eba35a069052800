-- labels v1: keep one more label, unless there are too many.                            Called by state/labels.py: add
-- KEYS[1] zset of labels, all with score 0   ARGV[1] label   ARGV[2] most labels there may be
-- Returns  1 kept, or kept before; 0 there are too many
-- Cost     O(log n)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
return redis.call('ZADD', KEYS[1], 0, ARGV[1])
