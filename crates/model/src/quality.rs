//! How far a reading can be trusted, and why no further.

/// The quality of a reading: a level and the reason for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality {
    /// How far it can be trusted.
    pub level: QualityLevel,
    /// Why no further.
    pub reason: QualityReason,
}

impl Quality {
    /// Good, with nothing to explain.
    pub const GOOD: Self = Self {
        level: QualityLevel::Good,
        reason: QualityReason::None,
    };

    /// A quality with its reason.
    #[must_use]
    pub const fn new(level: QualityLevel, reason: QualityReason) -> Self {
        Self { level, reason }
    }

    /// Its number in blocks: the level in the upper three bits, the reason in the lower five.
    #[must_use]
    pub const fn code(self) -> u8 {
        ((self.level as u8) << 5) | self.reason as u8
    }

    /// The quality with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        let level = QualityLevel::ALL
            .into_iter()
            .find(|level| *level as u8 == code >> 5)?;
        let reason = QualityReason::ALL
            .into_iter()
            .find(|r| *r as u8 == code & 0x1f)?;
        Some(Self { level, reason })
    }
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QualityLevel {
    /// Without reservation (Sparkplug 192).
    #[default]
    Good = 0,
    /// Usable with care.
    Uncertain = 1,
    /// Not usable (Sparkplug 0).
    Bad = 2,
    /// Was good, but is too old (Sparkplug 500).
    Stale = 3,
}

impl QualityLevel {
    /// Every level.
    pub const ALL: [Self; 4] = [Self::Good, Self::Uncertain, Self::Bad, Self::Stale];

    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
            Self::Stale => "stale",
        }
    }
}

/// Why a reading is not simply good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QualityReason {
    /// Nothing to explain, or the source gave no reason.
    #[default]
    None = 0,
    /// The machine's clock was not synchronised.
    ClockUnsynchronised = 1,
    /// The value lies outside the configured range.
    OutOfRange = 2,
    /// The device did not answer.
    DeviceUnreachable = 3,
    /// The device said that the value is wrong.
    DeviceFault = 4,
    /// The source had no value for this time.
    Missing = 5,
    /// The value could not be read as its type.
    Malformed = 6,
    /// The time lies further ahead than clocks may differ.
    TimeAhead = 7,
}

impl QualityReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::ClockUnsynchronised,
        Self::OutOfRange,
        Self::DeviceUnreachable,
        Self::DeviceFault,
        Self::Missing,
        Self::Malformed,
        Self::TimeAhead,
    ];

    /// Its name in tables and JSON; empty for [`Self::None`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::ClockUnsynchronised => "clock-unsynchronised",
            Self::OutOfRange => "out-of-range",
            Self::DeviceUnreachable => "device-unreachable",
            Self::DeviceFault => "device-fault",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TimeAhead => "time-ahead",
        }
    }
}
