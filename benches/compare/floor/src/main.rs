//! The floor: how fast can threads do these jobs with no engine at all? No quoting, no Unicode, no bad rows, no
//! bound on memory; x86-64 with AVX2 only. It measures the machine and is no part of minispark.
//!
//!   floor wc-simple|wc-simd  books|text  INPUT  OUTPUT.csv  [THREADS]
//!   floor join               SALES CATALOG OUTPUT.csv       [THREADS]
//!   floor etl                BOOKS         OUTPUT.csv       [THREADS]
//!
//! `books`: skip the first field (id) of each line. `text`: every token of the line counts.
//! Tokens are cut at bytes <= 0x20 and at commas, ASCII-lower-cased. Prints one JSON object.
use hashbrown::HashMap;
use memmap2::{Advice, Mmap};
use std::arch::x86_64::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Instant;

fn map(path: &str) -> Mmap {
    let m = unsafe { Mmap::map(&File::open(path).unwrap()).unwrap() };
    let _ = m.advise(Advice::Sequential);
    m
}

/// Cut `d` into about 4 MiB pieces that end on a line end (small pieces keep the two threads even).
fn pieces(d: &[u8], size: usize) -> Vec<(usize, usize)> {
    let (mut v, mut a) = (vec![], 0);
    while a < d.len() {
        let mut b = (a + size).min(d.len());
        while b < d.len() && d[b - 1] != b'\n' {
            b += 1;
        }
        v.push((a, b));
        a = b;
    }
    v
}

fn is_sep(c: u8) -> bool {
    c <= b' ' || c == b','
}

// ------------------------------------------------------------------ simple ----
type Words = HashMap<Box<[u8]>, u64, ahash::RandomState>;

fn wc_simple(d: &[u8], skip_id: bool, t: &mut Words) {
    let mut buf = Vec::with_capacity(64);
    for line in d.split(|&c| c == b'\n') {
        let line = if skip_id {
            match line.iter().position(|&c| c == b',') {
                Some(p) => &line[p + 1..],
                None => continue,
            }
        } else {
            line
        };
        for w in line.split(|&c| is_sep(c)).filter(|w| !w.is_empty()) {
            buf.clear();
            buf.extend(w.iter().map(|c| c.to_ascii_lowercase()));
            *t.entry_ref(buf.as_slice()).or_insert(0) += 1;
        }
    }
}

// -------------------------------------------------------------------- simd ----
/// Open addressing; a key of at most 16 bytes lies in the slot, zero padded. Longer words go to `long`.
struct Table {
    slots: Vec<[u64; 3]>, // key low, key high, count
    mask: usize,
    n: usize,
    long: Words,
}

#[inline(always)]
fn hash(a: u64, b: u64) -> u64 {
    let m =
        ((a ^ 0x9E37_79B9_7F4A_7C15) as u128).wrapping_mul((b ^ 0xD1B5_4A32_D192_ED03) as u128 | 1);
    let h = (m as u64) ^ ((m >> 64) as u64);
    h.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

fn slots(n: usize) -> Vec<[u64; 3]> {
    vec![[0; 3]; n] // zeroed by the kernel, not touched yet
}

impl Table {
    fn new(bits: u32) -> Self {
        Table { slots: slots(1 << bits), mask: (1 << bits) - 1, n: 0, long: Words::default() }
    }
    #[inline(always)]
    fn add(&mut self, a: u64, b: u64, h: u64, by: u64) {
        let mut i = h as usize & self.mask;
        loop {
            let s = unsafe { self.slots.get_unchecked_mut(i) };
            if s[0] == a && s[1] == b {
                s[2] += by;
                return;
            }
            if s[2] == 0 {
                *s = [a, b, by];
                self.n += 1;
                if self.n * 2 > self.mask {
                    self.grow();
                }
                return;
            }
            i = (i + 1) & self.mask;
        }
    }
    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = slots(old.len() * 2);
        self.mask = self.slots.len() - 1;
        self.n = 0;
        for s in old.into_iter().filter(|s| s[2] > 0) {
            self.add(s[0], s[1], hash(s[0], s[1]), s[2]);
        }
    }
}

const BATCH: usize = 64;

/// `d` must be followed by at least 16 readable bytes after each token start, else `tail` copies.
#[target_feature(enable = "avx2,bmi1,bmi2")]
unsafe fn wc_simd(d: &[u8], skip_id: bool, t: &mut Table) {
    let n = d.len();
    let p = d.as_ptr();
    let (mut start, mut first) = (0usize, skip_id); // start of the current token; is it the line's first one?
    let mut q = [(0u64, 0u64, 0u64); BATCH];
    let mut k = 0;
    let sp = _mm256_set1_epi8(0x20);
    let comma = _mm256_set1_epi8(b',' as i8);
    let nl = _mm256_set1_epi8(b'\n' as i8);
    macro_rules! flush {
        () => {
            for j in 0..k {
                t.add(q[j].0, q[j].1, q[j].2, 1);
            }
            k = 0;
        };
    }
    macro_rules! token {
        ($end:expr, $isnl:expr) => {
            let (s, e) = (start, $end);
            if e > s {
                if !first {
                    let len = e - s;
                    if len <= 16 {
                        let v = if s + 16 <= n {
                            _mm_loadu_si128(p.add(s) as *const __m128i)
                        } else {
                            let mut b = [0u8; 16];
                            std::ptr::copy_nonoverlapping(p.add(s), b.as_mut_ptr(), len);
                            _mm_loadu_si128(b.as_ptr() as *const __m128i)
                        };
                        // upper-case letters get bit 0x20; then the bytes after the token are cleared
                        let up = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8(0x40)), _mm_cmplt_epi8(v, _mm_set1_epi8(0x5b)));
                        let v = _mm_or_si128(v, _mm_and_si128(up, _mm_set1_epi8(0x20)));
                        let idx = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                        let v = _mm_and_si128(v, _mm_cmplt_epi8(idx, _mm_set1_epi8(len as i8)));
                        let a = _mm_cvtsi128_si64(v) as u64;
                        let b = _mm_extract_epi64(v, 1) as u64;
                        let h = hash(a, b);
                        _mm_prefetch(t.slots.as_ptr().add(h as usize & t.mask) as *const i8, _MM_HINT_T0);
                        q[k] = (a, b, h);
                        k += 1;
                        if k == BATCH {
                            flush!();
                        }
                    } else {
                        let w = d[s..e].to_ascii_lowercase();
                        *t.long.entry_ref(w.as_slice()).or_insert(0) += 1;
                    }
                }
                first = false;
            }
            start = e + 1;
            if $isnl {
                first = skip_id;
            }
        };
    }
    let mut i = 0;
    while i + 64 <= n {
        let a = _mm256_loadu_si256(p.add(i) as *const __m256i);
        let b = _mm256_loadu_si256(p.add(i + 32) as *const __m256i);
        macro_rules! m {
            ($v:expr) => {
                _mm256_movemask_epi8(_mm256_or_si256(
                    _mm256_cmpeq_epi8(_mm256_min_epu8($v, sp), $v),
                    _mm256_cmpeq_epi8($v, comma),
                )) as u32 as u64
            };
        }
        let mut seps = m!(a) | m!(b) << 32;
        let nls = _mm256_movemask_epi8(_mm256_cmpeq_epi8(a, nl)) as u32 as u64
            | (_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, nl)) as u32 as u64) << 32;
        while seps != 0 {
            let bit = seps.trailing_zeros() as usize;
            seps = _blsr_u64(seps);
            token!(i + bit, (nls >> bit) & 1 == 1);
        }
        i += 64;
    }
    while i < n {
        if is_sep(d[i]) {
            token!(i, d[i] == b'\n');
        }
        i += 1;
    }
    token!(n, true);
    flush!();
    let _ = (first, start, k);
}

fn wordcount(simd: bool, skip_id: bool, input: &str, output: &str, threads: usize) {
    let t0 = Instant::now();
    let m = map(input);
    let d: &[u8] = &m;
    let ps = pieces(d, 4 << 20);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || ps.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).copied();
    let mut out = Vec::with_capacity(16 << 20);
    let (mut rows, mut total) = (0u64, 0u64);
    let mut emit = |w: &[u8], c: u64| {
        out.extend_from_slice(w);
        let _ = writeln!(out, ",{c}");
        rows += 1;
        total += c;
    };
    if simd {
        let mut ts: Vec<Table> = std::thread::scope(|s| {
            let hs: Vec<_> = (0..threads)
                .map(|_| {
                    s.spawn(|| {
                        let mut t = Table::new(16);
                        while let Some((a, b)) = take() {
                            unsafe { wc_simd(&d[a..b], skip_id, &mut t) }
                        }
                        t
                    })
                })
                .collect();
            hs.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let mut base = ts.pop().unwrap();
        for t in ts {
            for s in t.slots.iter().filter(|s| s[2] > 0) {
                base.add(s[0], s[1], hash(s[0], s[1]), s[2]);
            }
            for (w, c) in t.long {
                *base.long.entry(w).or_insert(0) += c;
            }
        }
        for s in base.slots.iter().filter(|s| s[2] > 0) {
            let mut b = [0u8; 16];
            b[..8].copy_from_slice(&s[0].to_le_bytes());
            b[8..].copy_from_slice(&s[1].to_le_bytes());
            let l = b.iter().position(|&c| c == 0).unwrap_or(16);
            emit(&b[..l], s[2]);
        }
        for (w, c) in &base.long {
            emit(w, *c);
        }
    } else {
        let mut ts: Vec<Words> = std::thread::scope(|s| {
            let hs: Vec<_> = (0..threads)
                .map(|_| {
                    s.spawn(|| {
                        let mut t = Words::default();
                        while let Some((a, b)) = take() {
                            wc_simple(&d[a..b], skip_id, &mut t)
                        }
                        t
                    })
                })
                .collect();
            hs.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let mut base = ts.pop().unwrap();
        for t in ts {
            for (w, c) in t {
                *base.entry(w).or_insert(0) += c;
            }
        }
        for (w, c) in &base {
            emit(w, *c);
        }
    }
    File::create(output).unwrap().write_all(&out).unwrap();
    report(t0, rows, total);
}

// --------------------------------------------------------------- join, etl ----
/// Runs `f` over line-aligned pieces and writes each result at its own place in the output file.
fn pipeline(
    input: &str,
    output: &str,
    threads: usize,
    f: impl Fn(&[u8], &mut Vec<u8>) -> u64 + Sync,
) -> u64 {
    let m = map(input);
    let d: &[u8] = &m;
    let ps = pieces(d, 2 << 20);
    let file = File::create(output).unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let end = std::sync::atomic::AtomicU64::new(0);
    use std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|s| {
        let hs: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(|| {
                    let (mut out, mut rows) = (Vec::with_capacity(8 << 20), 0);
                    while let Some(&(a, b)) = ps.get(next.fetch_add(1, Relaxed)) {
                        out.clear();
                        rows += f(&d[a..b], &mut out);
                        let at = end.fetch_add(out.len() as u64, Relaxed);
                        file.write_all_at(&out, at).unwrap();
                    }
                    rows
                })
            })
            .collect();
        hs.into_iter().map(|h| h.join().unwrap()).sum()
    })
}

fn memchr(d: &[u8], c: u8) -> Option<usize> {
    let p = unsafe { libc::memchr(d.as_ptr() as _, c as i32, d.len()) };
    (!p.is_null()).then(|| p as usize - d.as_ptr() as usize)
}

fn join(sales: &str, catalog: &str, output: &str, threads: usize) {
    let t0 = Instant::now();
    let c = std::fs::read(catalog).unwrap();
    let mut dim: HashMap<&[u8], Vec<&[u8]>, ahash::RandomState> = HashMap::default();
    for l in c.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
        let p = memchr(l, b',').unwrap();
        dim.entry(&l[..p]).or_default().push(&l[p + 1..]);
    }
    let rows = pipeline(sales, output, threads, |mut d, out| {
        let mut n = 0;
        while !d.is_empty() {
            let e = memchr(d, b'\n').unwrap_or(d.len());
            let l = &d[..e];
            if let Some(p) = memchr(l, b',') {
                for name in dim.get(&l[..p]).into_iter().flatten() {
                    out.extend_from_slice(l);
                    out.push(b',');
                    out.extend_from_slice(name);
                    out.push(b'\n');
                    n += 1;
                }
            }
            d = &d[(e + 1).min(d.len())..];
        }
        n
    });
    report(t0, rows, rows);
}

fn etl(input: &str, output: &str, threads: usize) {
    let t0 = Instant::now();
    let rows = pipeline(input, output, threads, |mut d, out| {
        let mut n = 0;
        while !d.is_empty() {
            let e = memchr(d, b'\n').unwrap_or(d.len());
            let l = &d[..e];
            if let Some(p) = memchr(l, b',') {
                if let Some(q) = memchr(&l[p + 1..], b',') {
                    let q = p + 1 + q;
                    if l.len() - (q + 1) > 80 {
                        let at = out.len();
                        out.extend_from_slice(l);
                        out[at + p..at + q].make_ascii_uppercase();
                        out.push(b'\n');
                        n += 1;
                    }
                }
            }
            d = &d[(e + 1).min(d.len())..];
        }
        n
    });
    report(t0, rows, rows);
}

fn report(t0: Instant, rows: u64, total: u64) {
    let secs = t0.elapsed().as_secs_f64();
    let st = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hwm: u64 = st
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|x| x.parse().ok())
        .unwrap_or(0);
    let anon: u64 = st
        .lines()
        .find(|l| l.starts_with("RssAnon"))
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|x| x.parse().ok())
        .unwrap_or(0);
    println!(
        "{{\"secs\":{secs:.4},\"rows_out\":{rows},\"total\":{total},\"rss_mib\":{},\"rss_anon_mib\":{}}}",
        hwm / 1024,
        anon / 1024
    );
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let a: Vec<&str> = a.iter().map(|s| s.as_str()).collect();
    let th = |i: usize| a.get(i).and_then(|s| s.parse().ok()).unwrap_or(2);
    match a[1] {
        "wc-simple" | "wc-simd" => wordcount(a[1] == "wc-simd", a[2] == "books", a[3], a[4], th(5)),
        "join" => join(a[2], a[3], a[4], th(5)),
        "etl" => etl(a[2], a[3], th(4)),
        x => panic!("unknown mode {x}"),
    }
}
