//! What goes wrong in a run, and the chance that decides it.

use std::time::Duration;

/// Which kinds of faults a run has.
#[expect(clippy::struct_excessive_bools, reason = "each is a claim of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) loses: bool,
    pub(crate) repeats: bool,
    pub(crate) delays: bool,
    pub(crate) crashes: bool,
    pub(crate) pauses: bool,
    pub(crate) cuts: bool,
    pub(crate) strangers: bool,
    pub(crate) flaps: bool,
    pub(crate) slow: bool,
    pub(crate) tasks_fail: bool,
    pub(crate) data_is_bad: bool,
    pub(crate) commits_fail: bool,
    pub(crate) cancels: bool,
    pub(crate) master_crashes: bool,
    pub(crate) strangers_for_ever: bool,
    pub(crate) mute_for_ever: bool,
    pub(crate) deaf_for_ever: bool,
}

impl Faults {
    pub(crate) fn by_seed(random: &mut Random) -> Self {
        let mut half = || random.chance(50);
        Self {
            loses: half(),
            repeats: half(),
            delays: half(),
            crashes: half(),
            pauses: half(),
            cuts: half(),
            strangers: half(),
            flaps: half() && half(),
            slow: half(),
            tasks_fail: half(),
            data_is_bad: half() && half() && half(),
            commits_fail: half(),
            cancels: half() && half(),
            master_crashes: half(),
            strangers_for_ever: half() && half(),
            mute_for_ever: half() && half() && half(),
            deaf_for_ever: half() && half() && half(),
        }
    }
}

/// `SplitMix64`: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        from + Duration::from_micros(self.below(span.max(1)))
    }
}
