-- appeals v1: one appeal is filed, decided or erased.                                   Called by state/appeals.py
-- KEYS[1] record  KEYS[2] its words  KEYS[3] zset of open ones  KEYS[4] zset of decided ones  KEYS[5] zset of the key's
-- KEYS[6] string, the appeal about its reference
-- ARGV[1] file | decide | erase; ARGV[2] id
--         file:   place in a list, record, words, TTL of the words, TTL of the rest, most open ones, most of one key
--         decide: place among the open ones, record that is expected there, new one, place among the decided ones, TTL,
--                 place before which decided ones are forgotten
--         erase:  place among the open ones, place among the decided ones ("" when it is open), place in the key's list
-- Returns file: "" or the id of an appeal about the reference that is open, or "full"; decide: 1, or 0 when another record is
--         there; erase: names deleted
-- State   Places are "<time>:<id>" with score 0, so a list is in the order of time and a page of it starts anywhere.
-- Cost    O(log n)
local what, id = ARGV[1], ARGV[2]

if what == 'file' then
  local open = redis.call('GET', KEYS[6])
  if open then
    return open
  end
  if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[8]) then
    return 'full'
  end
  redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[7])
  redis.call('SET', KEYS[2], ARGV[5], 'EX', ARGV[6])
  redis.call('SET', KEYS[6], id, 'EX', ARGV[7])
  redis.call('ZADD', KEYS[3], 0, ARGV[3])
  redis.call('ZADD', KEYS[5], 0, ARGV[3])
  redis.call('ZREMRANGEBYRANK', KEYS[5], 0, -ARGV[9] - 1)
  redis.call('EXPIRE', KEYS[5], ARGV[7])
  return ''
end

if what == 'decide' then
  if redis.call('GET', KEYS[1]) ~= ARGV[4] then
    return 0
  end
  redis.call('SET', KEYS[1], ARGV[5], 'EX', ARGV[7])
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('ZADD', KEYS[4], 0, ARGV[6])
  redis.call('ZREMRANGEBYLEX', KEYS[4], '-', '(' .. ARGV[8])
  if redis.call('GET', KEYS[6]) == id then
    redis.call('DEL', KEYS[6]) -- another appeal about the same reference may come
  end
  return 1
end

redis.call('ZREM', KEYS[3], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('ZREM', KEYS[4], ARGV[4])
end
redis.call('ZREM', KEYS[5], ARGV[5])
local gone = redis.call('DEL', KEYS[1], KEYS[2])
if redis.call('GET', KEYS[6]) == id then
  gone = gone + redis.call('DEL', KEYS[6])
end
return gone
