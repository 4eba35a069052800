-- looks v1: replace the looks that were read by those that were made from them.        Called by state/looks.py: write
-- KEYS[1] looks of a model   ARGV[1] bytes that were read, "" for none  ARGV[2] the new bytes  ARGV[3] TTL, sec
-- Returns 1, or 0 when others were written since
-- Cost    O(1)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
