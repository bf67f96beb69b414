//! The requests of an hour as a chart: one bar per minute, divided by outcome.

use crate::metrics::Minute;

/// The dimensions of the chart, in units of the drawing. `LEFT` is a multiple of `STEP`, which is the width of the template's
/// pattern for failed requests: each of their bars has its line in the middle.
const STEP: usize = 6;
const TOP: u64 = 16;
const HEIGHT: u64 = 140;
const LEFT: u64 = 54;

/// The units of its numbers, the largest first.
const UNITS: [(u64, &str); 6] = [
    (1_000_000_000_000_000_000, "E"),
    (1_000_000_000_000_000, "P"),
    (1_000_000_000_000, "T"),
    (1_000_000_000, "G"),
    (1_000_000, "M"),
    (1_000, "k"),
];

/// A chart for a template.
pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// The horizontal lines: their position, and their number of requests.
    pub(super) lines: Vec<(u64, String)>,
    pub(super) most: u64,
}

/// A segment of a bar, in units of the drawing.
pub(super) struct Bar {
    pub(super) kind: &'static str,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) height: u64,
}

impl Chart {
    /// Creates the chart of these minutes, the oldest first.
    pub(super) fn of(minutes: &[Minute]) -> Self {
        let most = minutes.iter().map(Minute::requests).max().unwrap_or(0);
        let top = ceiling(most);
        let mut bars = Vec::new();
        for (x, minute) in (LEFT..).step_by(STEP).zip(minutes) {
            let [refused, failed] =
                [minute.refused, minute.failed].map(|count| u64::from(count > 0));
            let (mut below, mut drawn) = (0, 0);
            for (kind, count, above) in [
                ("answered", minute.answered, refused + failed),
                ("refused", minute.refused, failed),
                ("failed", minute.failed, 0),
            ] {
                if count == 0 {
                    continue;
                }
                below += count;
                // Each is visible, however small, and leaves room for those above it.
                let upto = scaled(below, top).clamp(drawn + 1, HEIGHT - above);
                bars.push(Bar {
                    kind,
                    x,
                    y: TOP + HEIGHT - upto,
                    height: upto - drawn,
                });
                drawn = upto;
            }
        }
        let lines = [0, top / 2, top].map(|count| {
            let y = TOP + HEIGHT - scaled(count, top);
            (y, short(count))
        });
        Self {
            bars,
            lines: lines.into(),
            most,
        }
    }
}

/// Returns a number's height.
fn scaled(count: u64, top: u64) -> u64 {
    (count.saturating_mul(HEIGHT) / top).min(HEIGHT)
}

/// Formats a number in at most four characters, the space beside the chart: 250, 2.5k, 20k, 1M.
fn short(count: u64) -> String {
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| count >= *unit) else {
        return count.to_string();
    };
    let (whole, tenths) = (count / unit, count % unit / (unit / 10));
    if whole < 10 && tenths > 0 {
        format!("{whole}.{tenths}{name}")
    } else {
        format!("{whole}{name}")
    }
}

/// Returns the smallest round, even number that is at least `most`: 2, 10, 20, 50, 100, 200, …
fn ceiling(most: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for digit in [2, 10, 20] {
            let round = power.saturating_mul(digit);
            if round >= most || round == u64::MAX {
                return round;
            }
        }
        let half = power.saturating_mul(50);
        if half >= most {
            return half;
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_a_round_number_and_whatever_happened_is_seen() {
        let tops = [0, 1, 2, 3, 11, 21, 51, 101, 999, 12_345].map(ceiling);
        assert_eq!(tops, [2, 2, 2, 10, 20, 50, 100, 200, 1_000, 20_000]);
        let minute = Minute {
            answered: 999,
            refused: 1,
            ..Minute::default()
        };
        let chart = Chart::of(&[Minute::default(), minute]);
        assert_eq!(chart.most, 1_000);
        let drawn: Vec<_> = chart
            .bars
            .iter()
            .map(|bar| (bar.kind, bar.height))
            .collect();
        assert_eq!(drawn, [("answered", HEIGHT - 1), ("refused", 1)]);
        assert!(
            chart
                .bars
                .iter()
                .all(|bar| bar.y >= TOP && bar.y + bar.height <= TOP + HEIGHT)
        );
        // Also among many others, which are not as many as the top, or nearly.
        for (answered, refused, failed, drawn) in [
            (1_000, 0, 1, &[("answered", 70_u64), ("failed", 1)][..]),
            (
                99_998,
                1,
                1,
                &[("answered", 138), ("refused", 1), ("failed", 1)],
            ),
            (
                1,
                99_998,
                1,
                &[("answered", 1), ("refused", 138), ("failed", 1)],
            ),
            (0, 0, 5, &[("failed", 70)]),
        ] {
            let minute = Minute {
                answered,
                refused,
                failed,
                ..Minute::default()
            };
            let bars = Chart::of(&[minute]).bars;
            let heights: Vec<_> = bars.iter().map(|bar| (bar.kind, bar.height)).collect();
            assert_eq!(heights, drawn);
            let last = bars.last().unwrap();
            assert!(last.y >= TOP, "{}", last.y);
        }
    }

    #[test]
    fn numbers_beside_the_chart_are_short() {
        for (count, texts) in [
            (0, ["0", "1", "2"]),
            (400, ["0", "250", "500"]),
            (4_000, ["0", "2.5k", "5k"]),
            (15_000, ["0", "10k", "20k"]),
            (400_000, ["0", "250k", "500k"]),
            (2_000_000, ["0", "1M", "2M"]),
            (u64::MAX, ["0", "9.2E", "18E"]),
        ] {
            let minute = Minute {
                answered: count,
                ..Minute::default()
            };
            let lines = Chart::of(&[minute]).lines.into_iter();
            let shown: Vec<String> = lines.map(|(_, text)| text).collect();
            assert_eq!(shown, texts, "{count}");
            assert!(shown.iter().all(|text| text.len() <= 4), "{shown:?}");
        }
    }
}
