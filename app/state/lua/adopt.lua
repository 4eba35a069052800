-- adopt v1: give a key's new id what was known under its old one, once.           Called by state/adoption.py: adopt
-- KEYS[1] seen  KEYS[2] flagged  KEYS[3] profile  KEYS[4] timeline  KEYS[5] balances  KEYS[6] verdict
--         KEYS[7] order  KEYS[8] what policy asks for beside it  KEYS[9] mark that this was done; all of the new id
-- ARGV[1] new id  ARGV[2] last seen, ms, "" unknown  ARGV[3] rank, "" none  ARGV[4..5] profile and its TTL, ms
--         ARGV[6] TTL of the timeline, sec  ARGV[7] TTL of the balances, sec  then number of timeline items, items, newest
--         first; number of balances' fields and values, these; then verdict and its TTL, ms, "" for none
-- Returns 1, or 0 when it was done before, or the new id has a profile of its own: then nothing but the mark was written
-- Cost    O(arguments), about 5 KiB
if not redis.call('SET', KEYS[9], '1', 'NX', 'EX', ARGV[6]) or redis.call('EXISTS', KEYS[3]) == 1 then
  return 0
end
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
end
local a = 8
local n = tonumber(ARGV[a])
for i = 1, n do
  redis.call('RPUSH', KEYS[4], ARGV[a + i])
end
if n > 0 then
  redis.call('EXPIRE', KEYS[4], ARGV[6])
end
a = a + n + 1
n = tonumber(ARGV[a])
if n > 0 and redis.call('EXISTS', KEYS[5]) == 0 then
  for i = 1, n, 2 do
    redis.call('HSET', KEYS[5], ARGV[a + i], ARGV[a + i + 1])
  end
  redis.call('EXPIRE', KEYS[5], ARGV[7])
end
a = a + n
if ARGV[a + 1] ~= '' then
  local place = redis.call('EXISTS', KEYS[7]) == 1 and KEYS[8] or KEYS[6]
  redis.call('SET', place, ARGV[a + 1], 'PX', ARGV[a + 2])
end
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
end
return 1
