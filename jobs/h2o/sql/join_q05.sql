select x.id1 as xid1, x.id2 as xid2, x.id3 as xid3, x.id4 as xid4, x.id5 as xid5, x.id6 as xid6, v1,
  b.id1 as bid1, b.id2 as bid2, b.id4 as bid4, b.id5 as bid5, b.id6 as bid6, v2
from x join big as b on x.id3 = b.id3
