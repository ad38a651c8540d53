"""What is asked of one Stream in one step. Each script has one key, so that a cluster may keep Streams anywhere."""

ENSURE = """
-- Makes the group where it is missing. Argument 2: '1' where what was removed before the group counts as lost.
-- {0}: no such Stream; {1}: the group was there; {2}: it was made now.
if redis.call('EXISTS', KEYS[1]) == 0 then return {0} end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then return {1} end
end
local added, length = 0, 0
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then added = info[i + 1] end
  if info[i] == 'length' then length = info[i + 1] end
end
local passed = ARGV[2] == '1' and 0 or added - length
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'ENTRIESREAD', passed)
return {2}
"""

LOOK = """
-- How a Stream stands: {length, first id, last id, entries added, delivered id, entries read, next undelivered id,
-- waiting, pending, oldest pending id, MEMORY USAGE}; -1 and '' where there is no group or nothing is known.
-- Entries read counts what Redis handed out; Redis does not count what a trim took past the group.
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local length, added, first, last = 0, 0, '', ''
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  local name, value = info[i], info[i + 1]
  if name == 'length' then length = value end
  if name == 'entries-added' then added = value end
  if name == 'last-generated-id' then last = value end
  if name == 'first-entry' and value then first = value[1] end
end
local delivered, read, waiting = '', -1, -1
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then
    for i = 1, #group, 2 do
      local name, value = group[i], group[i + 1]
      if name == 'last-delivered-id' then delivered = value end
      if name == 'entries-read' and value then read = value end
      if name == 'lag' and value then waiting = value end
    end
  end
end
local following, pending, oldest = '', -1, ''
if delivered ~= '' then
  local ahead = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', 1)
  if ahead[1] then following = ahead[1][1] end
  local held = redis.call('XPENDING', KEYS[1], ARGV[1])
  pending = held[1]
  oldest = held[2] or ''
end
local size = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', ARGV[2]) or 0
return {length, first, last, added, delivered, read, following, waiting, pending, oldest, size}
"""

COUNT_PASSED = """
-- Counts entries that a trim took past the group as passed, so that they are told once. 1: done; 0: no group.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then
    local delivered, read = '', 0
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
      if group[i] == 'entries-read' and group[i + 1] then read = group[i + 1] end
    end
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], delivered, 'ENTRIESREAD', read + tonumber(ARGV[2]))
    return 1
  end
end
return 0
"""

ACKNOWLEDGE = """
-- Entries are done with. What the group was handed out is counted again in the same step: Redis below 8 does not write
-- that count to its log with a read (redis/redis#12898), only with XGROUP SETID, and would come back without it.
redis.call('XACK', KEYS[1], unpack(ARGV))
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then
    local delivered, read
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
      if group[i] == 'entries-read' then read = group[i + 1] end
    end
    if delivered and read then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], delivered, 'ENTRIESREAD', read) end
  end
end
return 1
"""

RECOUNT = """
-- For a new connection: if Redis was started anew since the last one, each group's count is as of its last
-- acknowledgement. What it was handed after that is pending; more than was ever added up to there it cannot be.
-- The first time of all the counts are right, and are written down as they are.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local before = redis.call('GET', KEYS[1])
if before == run then return 0 end
redis.call('SET', KEYS[1], run)
for _, key in ipairs(redis.call('KEYS', 'md.*')) do
  if redis.call('TYPE', key).ok == 'stream' then
    local added, delivered, read, pending
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
      if info[i] == 'entries-added' then added = info[i + 1] end
    end
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      if group[2] == ARGV[1] then
        for i = 1, #group, 2 do
          if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
          if group[i] == 'entries-read' then read = group[i + 1] end
          if group[i] == 'pending' then pending = group[i + 1] end
        end
      end
    end
    if delivered and read then
      local after, ahead = '(' .. delivered, 0
      repeat
        local some = redis.call('XRANGE', key, after, '+', 'COUNT', 1000)
        ahead = ahead + #some
        if #some > 0 then after = '(' .. some[#some][1] end
      until #some < 1000
      local counted = before and math.max(read, math.min(read + pending, added - ahead)) or read
      redis.call('XGROUP', 'SETID', key, ARGV[1], delivered, 'ENTRIESREAD', counted)
    end
  end
end
return 1
"""
