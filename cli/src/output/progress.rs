//! How far a job is, on stderr: a bar on a terminal, otherwise a line every ten seconds.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::error::printable;

/// How often a line is printed where no bar is drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a job is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    output: Output,
    lines: bool,
    next_line: Duration,
}

impl Progress {
    /// For a job of this name; `lines` says whether lines are printed where no bar is drawn.
    pub(crate) fn new(output: Output, name: &str, lines: bool) -> Self {
        let bar = output.has_bar().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            let template = "{prefix} {bar:30} {percent:>3} % {elapsed} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(printable(name));
            bar
        });
        let lines = lines && !output.is_quiet();
        Self { bar, output, lines, next_line: LINE_EVERY }
    }

    /// The job is so far: 0 to 100 percent, `elapsed` after its start.
    pub(crate) fn update(&mut self, percent: f64, elapsed: Duration, message: &str) {
        if let Some(bar) = &self.bar {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000, and a cast of anything else saturates"
            )]
            bar.set_position((percent * 10.0) as u64);
            bar.set_message(printable(message));
        } else if self.lines && elapsed >= self.next_line {
            self.next_line = elapsed + LINE_EVERY;
            let seconds = elapsed.as_secs();
            self.output.say(&format!("{percent:.1} % after {seconds} s, {}", printable(message)));
        }
    }

    /// Something worth knowing, above the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable(text)),
            None => self.output.say(&printable(text)),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
