-- intel_swap v1: change fields of hashes together, if all are as they were read.   Called by state/intel_words.py: swap
-- KEYS[1] revision  KEYS[2…] hashes    ARGV quadruples: number of the hash in KEYS, field, value as it was read, new value;
--                                     an empty value stands for no field
-- Returns  1; 0 where a field is not as it was read, and nothing is changed
-- Cost     O(fields)
for i = 1, #ARGV, 4 do
  if (redis.call('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1]) or '') ~= ARGV[i + 2] then
    return 0
  end
end
for i = 1, #ARGV, 4 do
  if ARGV[i + 3] == '' then
    redis.call('HDEL', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  else
    redis.call('HSET', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 3])
  end
end
redis.call('INCR', KEYS[1])
return 1
