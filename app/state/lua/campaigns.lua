-- campaigns v1: store what a pass of the linker changed, all of it or nothing.     Called by state/campaigns.py: write
-- KEYS[1..3] state, heads, campaign of each key; then the pages of changed, of living and of forgotten campaigns; one hash tag
-- ARGV[1] state that it was made from, "" for none  ARGV[2] the new state  ARGV[3] TTL, sec  ARGV[4..8] how many campaigns
--         changed, live, are forgotten; how many keys left, joined; then changed: id, head, number of pages, (page, bytes)…;
--         forgotten: id; left: key, campaign; joined: key, campaign
-- Returns 1, or 0 when something else was written since: then nothing was
-- Cost    O(arguments)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
local ttl = ARGV[3]
-- A SET comes first: if memory is full the server refuses it before anything has been written.
redis.call('SET', KEYS[1], ARGV[2], 'EX', ttl)
local k, a = 3, 8
for _ = 1, tonumber(ARGV[4]) do
  k, a = k + 1, a + 3
  redis.call('HSET', KEYS[2], ARGV[a - 2], ARGV[a - 1])
  redis.call('DEL', KEYS[k])
  for _ = 1, tonumber(ARGV[a]) do
    a = a + 2
    redis.call('HSET', KEYS[k], ARGV[a - 1], ARGV[a])
  end
  redis.call('EXPIRE', KEYS[k], ttl)
end
for _ = 1, tonumber(ARGV[5]) do
  k = k + 1
  redis.call('EXPIRE', KEYS[k], ttl)
end
for _ = 1, tonumber(ARGV[6]) do
  k, a = k + 1, a + 1
  redis.call('HDEL', KEYS[2], ARGV[a])
  redis.call('UNLINK', KEYS[k])
end
for _ = 1, tonumber(ARGV[7]) do
  a = a + 2
  if redis.call('HGET', KEYS[3], ARGV[a - 1]) == ARGV[a] then
    redis.call('HDEL', KEYS[3], ARGV[a - 1])
  end
end
for _ = 1, tonumber(ARGV[8]) do
  a = a + 2
  redis.call('HSET', KEYS[3], ARGV[a - 1], ARGV[a])
end
redis.call('EXPIRE', KEYS[2], ttl)
redis.call('EXPIRE', KEYS[3], ttl)
return 1
