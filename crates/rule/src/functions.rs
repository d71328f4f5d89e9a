//! Series functions: how they stand in an expression, and what they give.

use std::collections::BTreeSet;
use std::time::Duration;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use model::{Pattern, SeriesName, Value};

use crate::window::Window;

/// What is asked of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// The newest value.
    Last,
    /// The mean of the values in a window.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The change from the first to the last, per second.
    Rate,
    /// How many there are; zero is an answer.
    Count,
}

impl Function {
    const ALL: [(&'static str, Self); 6] = [
        ("last", Self::Last),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("rate", Self::Rate),
        ("count", Self::Count),
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, function)| function)
    }

    pub(crate) fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }
}

/// Whose series a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This machine's: `last("oil/temperature")`.
    Own,
    /// That of the machine which the pattern names: `last("press-3:oil/temperature")`.
    Named,
    /// Anybody's: `max("*:oil/temperature", "5m")`.
    Anybodys,
}

/// One call of a series function: `avg("press-3:oil/temperature", "5m")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeriesCall {
    pub(crate) function: Function,
    pub(crate) pattern: Pattern,
    pub(crate) whose: Whose,
    /// How far back it looks; `None` for the newest value alone.
    pub(crate) window: Option<Duration>,
}

impl SeriesCall {
    /// Reads a call, or says what is wrong with it.
    pub(crate) fn read(function: Function, call: &CallExpr) -> Result<Self, String> {
        let name = function.name();
        let wanted = if function == Function::Last {
            "one text: a series, as in last(\"MACHINE:oil/temperature\")".to_owned()
        } else {
            format!("a series and a duration, as in {name}(\"MACHINE:oil/temperature\", \"5m\")")
        };
        let wanted = || format!("{name} takes {wanted}");
        let mut texts = call.args.iter().map(text);
        let (Some(Some(pattern)), None) = (texts.next(), call.target.as_ref()) else {
            return Err(wanted());
        };
        let window = match (function, texts.next()) {
            (Function::Last, None) => None,
            (Function::Last, Some(_)) | (_, None | Some(None)) => return Err(wanted()),
            (_, Some(Some(window))) => Some(duration(window)?),
        };
        if texts.next().is_some() {
            return Err(wanted());
        }
        let anybodys = pattern.strip_prefix(ANYBODY);
        let is_one = anybodys.is_none() && !pattern.contains('*');
        let pattern: Pattern = anybodys
            .unwrap_or(pattern)
            .parse()
            .map_err(|error| format!("`{pattern}` is no pattern of series: {error}"))?;
        let whose = match (anybodys, pattern.machine()) {
            (Some(_), Some(_)) => return Err(format!("`{pattern}` names two machines")),
            (Some(_), None) => Whose::Anybodys,
            (None, Some(_)) => Whose::Named,
            (None, None) => Whose::Own,
        };
        if function == Function::Rate && !is_one {
            return Err("rate needs one series, not a pattern with stars".to_owned());
        }
        Ok(Self {
            function,
            pattern,
            whose,
            window,
        })
    }

    /// What the function gives; `None` if there is nothing to take it from.
    pub(crate) fn value(&self, newest: Option<&Value>, window: &Window) -> Option<Value> {
        let number = |number: Option<f64>| number.map(Value::F64);
        match self.function {
            Function::Last => newest.cloned(),
            Function::Avg => number(window.mean()),
            Function::Min => number(window.least()),
            Function::Max => number(window.greatest()),
            Function::Rate => number(window.rate()),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53 readings")]
            Function::Count => Some(Value::F64(window.count() as f64)),
        }
    }

    /// Whether it listens to a series of a machine that answers to `names`.
    pub(crate) fn hears(
        &self,
        is_own: bool,
        names: &BTreeSet<String>,
        series: &SeriesName,
    ) -> bool {
        let is_there = match self.whose {
            Whose::Own => is_own,
            Whose::Named => self
                .pattern
                .machine()
                .is_some_and(|name| names.contains(name)),
            Whose::Anybodys => true,
        };
        is_there && self.pattern.matches(series)
    }

    /// Whether it has a value also when its series is stale.
    pub(crate) fn outlives_staleness(&self) -> bool {
        self.function == Function::Count
    }
}

fn text(argument: &IdedExpr) -> Option<&str> {
    if let Expr::Literal(LiteralValue::String(text)) = &argument.expr {
        Some(text.inner())
    } else {
        None
    }
}

/// Reads a duration such as `250ms`, `30s`, `5m`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let millis = digits.parse::<u64>().ok();
    let duration = millis.and_then(|number| number.checked_mul(unit));
    let duration = duration.map(Duration::from_millis);
    duration
        .filter(|duration| (WINDOW_MIN..=WINDOW_MAX).contains(duration))
        .ok_or_else(|| format!("`{text}` is no duration from 100ms to 24h, such as 30s or 5m"))
}

/// Before a pattern: of any machine.
const ANYBODY: &str = "*:";
/// Shortest window. Source: guess.
const WINDOW_MIN: Duration = Duration::from_millis(100);
/// Longest window. Source: guess; what looks back further is a question to the store.
const WINDOW_MAX: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for refused in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "1.5s",
            "25h",
            "99ms",
            "99999999999999999999h",
        ] {
            assert!(duration(refused).is_err(), "{refused}");
        }
    }
}
