//! A node that lives on a simulated disk, and its recording: [`machines`] and [`samples`] have what
//! is recorded, the other files what is shown.

mod entries;
mod machines;
mod runs;
mod samples;
