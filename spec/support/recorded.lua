-- What is in a recording of luws.record, for specs.

local recorded = {}

--- said(rec [, from]): returns the kinds of rows of a recording, with what they carry.
function recorded.said(rec, from)
  local list = {}
  for row in rec:rows { from = from or 1 } do
    list[#list + 1] = ("%s%s %s"):format(row.dir and row.dir .. " " or "", row.kind,
      row.data or row.call or type(row.note) ~= "table" and row.note or ""):gsub("%s+$", "")
  end
  return list
end

return recorded
