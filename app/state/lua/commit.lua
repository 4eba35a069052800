-- commit v3: apply one batch of a partition's stream, all of it or nothing.   Called by state/partition.py: commit
-- KEYS[1..9]  fence, cursor, stream, rows, dead, seen, flagged, trace log, traces; then n_states profile, n_verdicts verdict,
--             n_verdicts order, n_verdicts asked and n_timeline timeline names, for each flag record its list and its
--             reference, the hash of each ballot, and the ledger of each mark; all under one hash tag
-- ARGV[1..28] our fence; cursor the batch was read from; id of the batch's last entry; the id after it; profile TTL, sec;
--             seen horizon, ms; dead letters: most entries, TTL ms, oldest id kept; then how many states, verdicts,
--             timeline items, seen, flagged, rows and dead letters follow; most rows that may wait for the archive; how many
--             flag records follow; most that a key keeps; their TTL, sec; how many ballots follow; their TTL, sec; how many
--             traces follow; most that may wait; event time the partition has come to, us, 0 where nothing is linked; how
--             many sums of marks follow; most that a key's ledger has; its TTL, sec
-- ARGV[29..]  states: value. verdicts: value, "" deletes; written to asked where an order of a person stands. timeline: JSON.
--             seen: ms, key. flagged: rank, key; "" removes. rows: id, bytes. dead: id, bytes, rule. flag records: JSON,
--             key. ballots: "interval|model" that the hash is to hold, key, bytes. marks: "profile|epoch", answers, tokens,
--             evidence, first and last, ms. traces: id, pass, key, bytes.
-- Returns     {rows, traces} dropped because too many wait; or "fence" when another worker has owned the partition since; or
--             "cursor" when the batch was applied before
-- Time        none: everything written is a function of the entries, and of orders, so a second run writes the same bytes
-- Cost        O(arguments); 500 entries of 500 keys are about 2 MiB and a few ms
local TIMELINE_LENGTH = 100
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'fence'
end
if (redis.call('GET', KEYS[2]) or '0-0') ~= ARGV[2] then
  return 'cursor'
end
local ttl = ARGV[5]
local k, a = 9, 28

-- A SET comes first: if memory is full the server refuses it before anything has been written.
redis.call('SET', KEYS[2], ARGV[3])
for _ = 1, tonumber(ARGV[10]) do
  k, a = k + 1, a + 1
  redis.call('SET', KEYS[k], ARGV[a], 'EX', ttl)
end
local n_verdicts = tonumber(ARGV[11])
for _ = 1, n_verdicts do
  k, a = k + 1, a + 1
  local place, other = KEYS[k], KEYS[k + 2 * n_verdicts]
  if redis.call('EXISTS', KEYS[k + n_verdicts]) == 1 then
    place, other = other, nil
  end
  if ARGV[a] == '' then
    redis.call('DEL', place)
  else
    redis.call('SET', place, ARGV[a], 'EX', ttl)
  end
  if other then -- of an order that has ended by itself
    redis.call('DEL', other)
  end
end
k = k + 2 * n_verdicts
for _ = 1, tonumber(ARGV[12]) do
  k, a = k + 1, a + 1
  redis.call('LPUSH', KEYS[k], ARGV[a])
  redis.call('LTRIM', KEYS[k], 0, TIMELINE_LENGTH - 1)
  redis.call('EXPIRE', KEYS[k], ttl)
end
for _ = 1, tonumber(ARGV[13]) do
  redis.call('ZADD', KEYS[6], 'GT', ARGV[a + 1], ARGV[a + 2])
  a = a + 2
end
for _ = 1, tonumber(ARGV[14]) do
  if ARGV[a + 1] == '' then
    redis.call('ZREM', KEYS[7], ARGV[a + 2])
  else
    redis.call('ZADD', KEYS[7], ARGV[a + 1], ARGV[a + 2])
  end
  a = a + 2
end
for _ = 1, tonumber(ARGV[15]) do
  -- pcall: after a restore of older data the row may be there already, and half a commit would be worse than a skip.
  redis.pcall('XADD', KEYS[4], ARGV[a + 1], 'r', ARGV[a + 2])
  a = a + 2
end
-- The archive's disk may be full for days; memory may not.
local dropped = redis.call('XTRIM', KEYS[4], 'MAXLEN', ARGV[17])
for _ = 1, tonumber(ARGV[16]) do
  redis.pcall('XADD', KEYS[5], 'MAXLEN', ARGV[7], ARGV[a + 1], 'e', ARGV[a + 2], 'why', ARGV[a + 3])
  a = a + 3
end
if tonumber(ARGV[16]) > 0 then
  redis.call('XTRIM', KEYS[5], 'MINID', ARGV[9])
  redis.call('PEXPIRE', KEYS[5], ARGV[8])
end
for _ = 1, tonumber(ARGV[18]) do
  k, a = k + 2, a + 2
  -- After a restore of older data a record may be there already.
  if redis.call('LINDEX', KEYS[k - 1], 0) ~= ARGV[a - 1] then
    redis.call('LPUSH', KEYS[k - 1], ARGV[a - 1])
    redis.call('LTRIM', KEYS[k - 1], 0, ARGV[19] - 1)
  end
  redis.call('EXPIRE', KEYS[k - 1], ARGV[20])
  redis.call('SET', KEYS[k], ARGV[a], 'EX', ARGV[20])
end
for _ = 1, tonumber(ARGV[21]) do
  k, a = k + 1, a + 3
  local mark = redis.call('HGET', KEYS[k], '')
  local held = mark and tonumber(string.match(mark, '^%d+')) or -1
  local number = tonumber(string.match(ARGV[a - 2], '^%d+'))
  -- A hash holds one interval after the other: what comes late, when a newer one is there, is too late for its look.
  if number >= held then
    if mark ~= ARGV[a - 2] then
      redis.call('DEL', KEYS[k])
      redis.call('HSET', KEYS[k], '', ARGV[a - 2])
      redis.call('EXPIRE', KEYS[k], ARGV[22])
    end
    redis.call('HSET', KEYS[k], ARGV[a - 1], ARGV[a])
  end
end
for _ = 1, tonumber(ARGV[26]) do
  k, a = k + 1, a + 6
  local name = ARGV[a - 5]
  local held = redis.call('HGET', KEYS[k], name)
  if not held and redis.call('HLEN', KEYS[k]) >= tonumber(ARGV[27]) then
    name = '|'
    held = redis.call('HGET', KEYS[k], name)
  end
  -- Sums of whole numbers below 2^53 are exact, and this script runs once for a batch.
  local sums, n = {0, 0, 0, tonumber(ARGV[a - 1]), 0}, 0
  for number in string.gmatch(held or '', '%S+') do
    n = n + 1
    sums[n] = tonumber(number) or 0
  end
  for i = 1, 3 do
    sums[i] = sums[i] + ARGV[a - 5 + i]
  end
  sums[4] = math.min(sums[4], ARGV[a - 1])
  sums[5] = math.max(sums[5], ARGV[a])
  redis.call('HSET', KEYS[k], name, string.format('%.0f %.0f %.0f %.0f %.0f', unpack(sums)))
  redis.call('EXPIRE', KEYS[k], ARGV[28])
end
for _ = 1, tonumber(ARGV[23]) do
  a = a + 4
  redis.pcall('XADD', KEYS[8], ARGV[a - 3], 'b', ARGV[a - 2], 'k', ARGV[a - 1], 't', ARGV[a])
end
local lost = 0
if ARGV[25] ~= '0' then
  lost = redis.call('XTRIM', KEYS[8], 'MAXLEN', ARGV[24])
  redis.call('EXPIRE', KEYS[8], ttl)
  if tonumber(redis.call('HGET', KEYS[9], '') or 0) < tonumber(ARGV[25]) then
    redis.call('HSET', KEYS[9], '', ARGV[25])
  end
  redis.call('EXPIRE', KEYS[9], ttl)
end
-- Idle keys leave both indexes; a bounded number per commit keeps the script short.
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', ARGV[6], 'LIMIT', 0, 200)) do
  redis.call('ZREM', KEYS[6], key)
  redis.call('ZREM', KEYS[7], key)
  redis.call('HDEL', KEYS[9], key)
end
redis.call('XTRIM', KEYS[3], 'MINID', ARGV[4])
return {dropped, lost}
