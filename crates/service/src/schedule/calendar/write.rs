//! A calendar as an expression that systemd reads.

use super::super::civil::{Bits, Calendar, DayRule, Days, Piece, Years};
use super::WEEKDAYS;

impl Calendar {
    /// The expressions systemd reads, in UTC or the zone it is given: two where a cron line's two kinds of
    /// days are alternatives.
    pub(in crate::schedule) fn expressions(&self) -> Vec<String> {
        match self.day_rule {
            DayRule::Both => vec![self.expression()],
            DayRule::Either => {
                let of_month = Calendar { weekdays: Bits::range(0, 6), ..self.clone() };
                let of_week = Calendar { days: Days::FromStart(Bits::range(1, 31)), ..self.clone() };
                vec![of_month.expression(), of_week.expression()]
            }
        }
    }

    /// The expression, as if both kinds of days had to fit.
    pub(in crate::schedule) fn expression(&self) -> String {
        let week = match self.weekdays.count() {
            7 => String::new(),
            _ => self.weekdays.all().map(day_name).collect::<Vec<_>>().join(",") + " ",
        };
        let years = match &self.years {
            Years::All => "*".to_string(),
            Years::Some(years) => joined(years, 4),
        };
        let (mark, days) = match &self.days {
            Days::FromStart(bits) => ('-', list(*bits, 1, 31)),
            Days::FromEnd(pieces) => ('~', pieces.iter().map(piece).collect::<Vec<_>>().join(",")),
        };
        let months = list(self.months, 1, 12);
        let time = [(self.hours, 23), (self.minutes, 59), (self.seconds, 59)];
        let time = time.map(|(bits, to)| list(bits, 0, to)).join(":");
        format!("{week}{years}-{months}{mark}{days} {time}")
    }
}

fn day_name(day: u32) -> String {
    let (short, _) = WEEKDAYS[day as usize];
    short[..1].to_ascii_uppercase() + &short[1..]
}

/// A list in order; three and more in a row as the first and the last of them.
fn joined(numbers: &[u32], digits: usize) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let written = runs.map(|run| match run {
        [first, _, .., last] => format!("{first:0digits$}..{last:0digits$}"),
        few => few.iter().map(|n| format!("{n:0digits$}")).collect::<Vec<_>>().join(","),
    });
    written.collect::<Vec<_>>().join(",")
}

/// The shortest of `*`, a step and a list.
fn list(bits: Bits, from: u32, to: u32) -> String {
    if bits == Bits::range(from, to) {
        return "*".to_string();
    }
    let numbers: Vec<u32> = bits.all().collect();
    match numbers[..] {
        [first, second, third, ..] if evenly(&numbers) => {
            let (step, last) = (second - first, numbers[numbers.len() - 1]);
            debug_assert!(third > second, "bits are in order");
            format!("{first:02}..{last:02}/{step}")
        }
        _ => joined(&numbers, 2),
    }
}

fn evenly(numbers: &[u32]) -> bool {
    numbers.windows(3).all(|n| n[2] - n[1] == n[1] - n[0])
}

fn piece(piece: &Piece) -> String {
    let step = if piece.step > 0 { format!("/{}", piece.step) } else { String::new() };
    match piece.stop {
        Some(stop) => format!("{:02}..{stop:02}{step}", piece.start),
        None => format!("{:02}{step}", piece.start),
    }
}
