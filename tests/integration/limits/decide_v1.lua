-- decide v1: check every budget of a request, then charge all of them or none.      Called by state/decisions.py: decide
-- KEYS[1] verdict of the key  KEYS[2] balances of the key  then balances of the organisation if ARGV[8] > 0  then one
--         in-flight zset per concurrency limit; all full names under one hash tag
-- ARGV[1] request id  ARGV[2..3] input tokens, output tokens  ARGV[4] enforce | shadow  ARGV[5] life of a slot, us
-- ARGV[6] TTL of balances, sec  ARGV[7..9] number of budgets of the key, of the organisation, of concurrency limits
-- ARGV[10] 1: the verdict's own ceiling applies, for the plan limits no requests of the key
-- ARGV[11..]  per budget: field, what it counts (1 requests, 2 input, 3 output, 4 both), us per unit, us when full
--             then per concurrency limit: slots, 1 if a verdict narrows it
-- Returns {status, which, wait_us, effect, now_us, level of each budget, slots in use per limit[, ceiling's level, verdict]}
--         status: 1 admitted, 0 refused, 2 refused for ever: more than the whole budget. which: the budget that refused, 1..n,
--         concurrency limits counted on; 0 the ceiling. wait_us: until it would pass, 0 unknown. effect: 0 no verdict in
--         force; enforce: 1 narrowed; shadow: 2 would have been narrowed, 3 would have been refused. Verdict: when effect > 0.
-- State   hash field -> unix us at which the budget is full again (GCRA), so that level = that time - now, in us of refill;
--         s<field> the same as if the verdict were enforced; v, sv the ceiling; t last write, x when the TTL was set
-- Time    server TIME, us. When it steps back, every time in the hash moves with it, so that a step gives nothing and
--         locks out nobody.
-- TTL     ARGV[6], set again when a quarter has passed; longer than any period, so that expiry forgives nothing spent
-- Cost    O(budgets), at most 3 hashes of budgets and ~5 calls; nothing is written for a plan without limits
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local counts = {1, tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[2] + ARGV[3]}
local n_key, n_org, n_slots = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local n = n_key + n_org
local MINUTE = 60000000

-- A verdict narrows the budgets of its key, never those of an organisation, which other keys share.
local verdict = redis.call('GET', KEYS[1])
local factor, ceiling
if verdict then
  local share, most, until_us = string.match(verdict, '^[^|]*|throttle|([^|]*)|([^|]*)|(%d+)')
  share, most = tonumber(share), tonumber(most)
  if share and share > 0 and share <= 1 and tonumber(until_us) > now then
    factor = share
    ceiling = ARGV[10] == '1' and most and most > 0 and most or nil
  end
end
local enforce = factor and ARGV[4] == 'enforce'
local shadow = factor and not enforce

-- Reads `fields` of a hash whose clock may be ahead of ours. Field 1 is t, field 2 is x.
local function read(key, fields)
  local found = redis.call('HMGET', key, unpack(fields))
  local ahead = found[1] and found[1] - now or 0
  if ahead > 0 then
    local all = redis.call('HGETALL', key)
    for i = 2, #all, 2 do
      all[i] = all[i] - ahead
    end
    redis.call('HSET', key, unpack(all))
    found = redis.call('HMGET', key, unpack(fields))
  end
  return found
end

local key_fields, org_fields = {'t', 'x'}, {'t', 'x'}
for i = 1, n do
  local field = ARGV[7 + 4 * i]
  if i <= n_key then
    key_fields[2 + i] = field
    if shadow then
      key_fields[2 + n_key + i] = 's' .. field
    end
  else
    org_fields[2 + i - n_key] = field
  end
end
if ceiling then
  key_fields[#key_fields + 1] = shadow and 'sv' or 'v'
end
local key_found = #key_fields > 2 and read(KEYS[2], key_fields) or {}
local org_found = n_org > 0 and read(KEYS[3], org_fields) or {}

-- A cost in us of refill. Rounded down, so that a budget of 7 holds 7; never free.
local function refill_us(cost, interval)
  return cost > 0 and math.max(1, math.floor(cost * interval)) or 0
end

-- Check. The budget with the longest wait is named; for ever is longer than any.
local status, which, wait = 1, 0, 0
local levels, adds = {}, {}
local function check(index, level, add, full, lenient)
  -- What is larger than a narrowed budget passes when that is full, and the debt is paid off before the next one.
  if add > 0 and level + add > full and not (lenient and level <= 0) then
    local missing = lenient and level or level + add - full
    if add > full and not lenient then
      status, which, wait = 2, index, 0
    elseif status ~= 2 and missing > wait then
      status, which, wait = 0, index, missing
    end
  end
end
for i = 1, n do
  local at = 7 + 4 * i
  local found = i <= n_key and key_found[2 + i] or i > n_key and org_found[2 + i - n_key]
  local level = math.max(0, (found or 0) - now)
  local cost, interval, full = counts[tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local add = refill_us(cost, interval)
  if enforce and i <= n_key then
    local narrowed = refill_us(cost, interval / factor)
    check(i, level, narrowed, full, narrowed > full and add <= full)
    add = narrowed
  else
    check(i, level, add, full)
  end
  levels[i], adds[i] = level, add
end
local in_use, first_slots = {}, 3 + (n_org > 0 and 1 or 0)
local would_refuse = false
for i = 1, n_slots do
  local at = 9 + 4 * n + 2 * i
  local limit, name = tonumber(ARGV[at]), KEYS[first_slots + i - 1]
  local narrowed = factor and ARGV[at + 1] == '1' and math.max(1, math.floor(limit * factor)) or limit
  if enforce then
    limit = narrowed
  end
  local used = redis.call('ZCARD', name)
  if used >= math.min(limit, narrowed) then -- slots of gateways that died are found when they are needed
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
    used = redis.call('ZCARD', name)
  end
  if used >= limit and status == 1 then
    status, which, wait = 0, n + i, 0
  end
  would_refuse = would_refuse or used >= narrowed
  in_use[i] = used
end
local ceiling_level, ceiling_add = 0, 0
if ceiling then
  ceiling_level = math.max(0, (key_found[#key_fields] or 0) - now)
  ceiling_add = refill_us(1, MINUTE / ceiling)
  local full = math.max(MINUTE, ceiling_add)
  if enforce then
    check(0, ceiling_level, ceiling_add, full)
  elseif ceiling_level + ceiling_add > full then
    would_refuse = true
  end
end

-- Shadow: the same check on balances of their own, which only count what enforcement would have let pass.
local shadow_levels, shadow_adds = {}, {}
if shadow then
  for i = 1, n_key do
    local at = 7 + 4 * i
    local cost, interval, full = counts[tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local level = math.max(0, (key_found[2 + n_key + i] or key_found[2 + i] or 0) - now)
    local add = refill_us(cost, interval / factor)
    if add > 0 and level + add > full and not (add > full and level <= 0) then
      would_refuse = true
    end
    shadow_levels[i], shadow_adds[i] = level, add
  end
end
local effect = enforce and 1 or shadow and (would_refuse and 3 or 2) or 0

-- Charge.
if status == 1 then
  local key_writes, org_writes = {}, {}
  for i = 1, n do
    if adds[i] > 0 then
      levels[i] = levels[i] + adds[i]
      local writes = i <= n_key and key_writes or org_writes
      writes[#writes + 1] = ARGV[7 + 4 * i]
      writes[#writes + 1] = now + levels[i]
    end
  end
  if effect == 2 then
    for i = 1, n_key do
      key_writes[#key_writes + 1] = 's' .. ARGV[7 + 4 * i]
      key_writes[#key_writes + 1] = now + shadow_levels[i] + shadow_adds[i]
    end
  end
  if ceiling and effect < 3 then
    ceiling_level = ceiling_level + ceiling_add
    key_writes[#key_writes + 1] = shadow and 'sv' or 'v'
    key_writes[#key_writes + 1] = now + ceiling_level
  end
  local ttl = tonumber(ARGV[6])
  local function write(key, writes, x)
    if #writes == 0 then
      return
    end
    local renew = not x or now - x > ttl * 250000
    if renew then
      redis.call('HSET', key, 't', now, 'x', now, unpack(writes))
      redis.call('EXPIRE', key, ttl)
    else
      redis.call('HSET', key, 't', now, unpack(writes))
    end
  end
  write(KEYS[2], key_writes, key_found[2])
  if n_org > 0 then
    write(KEYS[3], org_writes, org_found[2])
  end
  local life = tonumber(ARGV[5])
  for i = 1, n_slots do
    local name = KEYS[first_slots + i - 1]
    redis.call('ZADD', name, now + life, ARGV[1])
    redis.call('PEXPIRE', name, math.ceil(life / 1000))
    in_use[i] = in_use[i] + 1
  end
end

local answer = {status, which, wait, effect, now}
for i = 1, n do
  answer[5 + i] = levels[i]
end
for i = 1, n_slots do
  answer[5 + n + i] = in_use[i]
end
if effect > 0 then
  answer[#answer + 1] = ceiling_level
  answer[#answer + 1] = verdict
end
return answer
