-- intel_add v1: keep versions of objects in a collection, and let the oldest go.      Called by state/intel.py: add
-- KEYS[1] zset of versions by date added  [2] those that are the newest of their object  [3] all, in the order of names
-- KEYS[4] hash of objects   KEYS[5] hash {bytes, last}
-- ARGV[1] most versions  ARGV[2] most bytes  ARGV[3] how long a version is kept, sec  then name and object of each
-- Returns  for each its date added, µs; negative where it was there before, which changes nothing
-- State    dates grow strictly, also where the clock does not: whoever has read up to a date misses nothing that comes later
-- Cost     O(log n) for each; at most 2,000 old ones go in one call
local dated, newest, by_id, objects, size = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', size, 'bytes', 'last')
local bytes, last = tonumber(state[1] or 0), tonumber(state[2] or 0)

local function drop(name)
  bytes = bytes - redis.call('HSTRLEN', objects, name)
  redis.call('HDEL', objects, name)
  redis.call('ZREM', dated, name)
  redis.call('ZREM', by_id, name)
  if redis.call('ZREM', newest, name) == 1 then
    local id = string.match(name, '^[^|]*')
    local left = redis.call('ZREVRANGEBYLEX', by_id, '(' .. id .. '}', '[' .. id .. '|', 'LIMIT', 0, 1)[1]
    if left then
      redis.call('ZADD', newest, redis.call('ZSCORE', dated, left), left)
    end
  end
end

local dates = {}
for at = 4, #ARGV, 2 do
  local name, object = ARGV[at], ARGV[at + 1]
  local known = redis.call('ZSCORE', dated, name)
  if known then
    dates[#dates + 1] = '-' .. string.format('%.0f', known)
  else
    last = math.max(now, last + 1)
    local date = string.format('%.0f', last)
    redis.call('ZADD', dated, date, name)
    redis.call('ZADD', by_id, 0, name)
    redis.call('HSET', objects, name, object)
    bytes = bytes + #object
    local id = string.match(name, '^[^|]*')
    local two = redis.call('ZREVRANGEBYLEX', by_id, '(' .. id .. '}', '[' .. id .. '|', 'LIMIT', 0, 2)
    if two[1] == name then
      if two[2] then
        redis.call('ZREM', newest, two[2])
      end
      redis.call('ZADD', newest, date, name)
    end
    dates[#dates + 1] = date
  end
end

local old = string.format('(%.0f', now - ARGV[3] * 1000000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', dated, '-inf', old, 'LIMIT', 0, 1000)) do
  drop(name)
end
for _ = 1, 1000 do
  if redis.call('ZCARD', dated) <= tonumber(ARGV[1]) and bytes <= tonumber(ARGV[2]) then
    break
  end
  drop(redis.call('ZRANGE', dated, 0, 0)[1])
end
redis.call('HSET', size, 'bytes', string.format('%.0f', bytes), 'last', string.format('%.0f', last))
for _, name in ipairs(KEYS) do
  redis.call('EXPIRE', name, ARGV[3] + 86400)
end
return dates
