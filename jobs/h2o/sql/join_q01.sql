select x.id1 as xid1, x.id2 as xid2, x.id3 as xid3, x.id4 as xid4, x.id5 as xid5, x.id6 as xid6, v1,
  s.id4 as small_id4, v2
from x join small as s on x.id1 = s.id1
