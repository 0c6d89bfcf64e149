select x.id1 as xid1, x.id2 as xid2, x.id3 as xid3, x.id4 as xid4, x.id5 as xid5, x.id6 as xid6, v1,
  m.id1 as mid1, m.id4 as mid4, m.id5 as mid5, v2
from x left join medium as m on x.id2 = m.id2
