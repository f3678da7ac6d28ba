-- Prints how long `require "luws"` takes in this interpreter, with the linker's part: once for each process.
local clock = os.clock
local began = clock()
require "luws"
print(("%.2f"):format((clock() - began) * 1000))
