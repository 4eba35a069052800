-- order v1: place or end a person's order about a key, in one partition.       Called by state/orders.py
-- KEYS[1] verdict  KEYS[2] order  KEYS[3] asked  KEYS[4] timeline, all of one key
-- ARGV[1] place: order with its number, the number, verdict string, end in ms, timeline item, TTL of that in sec follow
--         end: most number that is ended ("" any), reference that is ended ("" any), timeline item, TTL follow
--         expired: nothing follows
-- Returns  1 when something was done; 0 when the order is there already, or a later one is, or it is gone; place: -1 when its
--          end has passed
-- State    While the order stands, the verdict is the order's own string and what policy asks for is in asked, where
--          commit.lua goes on writing it. It moves there and back by RENAME, so bytes and remaining TTL are what they would
--          have been. Order and verdict expire at the same ms, by server time.
-- Cost     O(1)
local TIMELINE_LENGTH = 100
local verdict, order, asked, timeline = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local standing = redis.call('GET', order)
local found = standing and cjson.decode(standing) or {}

local function say(item, ttl)
  if item ~= '' then
    redis.call('LPUSH', timeline, item)
    redis.call('LTRIM', timeline, 0, TIMELINE_LENGTH - 1)
    redis.call('EXPIRE', timeline, ttl)
  end
end

-- What policy asks for takes its place again.
local function put_back()
  if redis.call('EXISTS', asked) == 1 then
    redis.call('RENAME', asked, verdict)
  else
    redis.call('DEL', verdict)
  end
end

if ARGV[1] == 'place' then
  local time = redis.call('TIME')
  if tonumber(ARGV[5]) <= time[1] * 1000 + math.floor(time[2] / 1000) then
    return -1
  end
  if standing == ARGV[2] then
    -- A repeat. The string is written again: a worker of an earlier version deletes it.
    redis.call('SET', verdict, ARGV[4], 'PXAT', ARGV[5])
    return 0
  end
  if (found.number or 0) > tonumber(ARGV[3]) then
    return 0
  end
  -- First a SET: if memory is full the server refuses it before anything has been done.
  redis.call('SET', order, ARGV[2], 'PXAT', ARGV[5])
  if not standing and redis.call('EXISTS', verdict) == 1 then
    redis.call('RENAME', verdict, asked)
  end
  redis.call('SET', verdict, ARGV[4], 'PXAT', ARGV[5])
  say(ARGV[6], ARGV[7])
  return 1
end

if not standing then
  -- It has ended by itself; where a verdict is, a commit has seen that before us.
  if redis.call('EXISTS', verdict) == 1 then
    return 0
  end
  put_back()
  return ARGV[1] == 'expired' and 1 or 0
end

if ARGV[1] == 'end' then
  local later = ARGV[2] ~= '' and (found.number or 0) > tonumber(ARGV[2])
  if later or (ARGV[3] ~= '' and (found.ref or '') ~= ARGV[3]) then
    return 0
  end
  redis.call('DEL', order)
  put_back()
  say(ARGV[4], ARGV[5])
  return 1
end
return 0 -- expired: a later order stands
