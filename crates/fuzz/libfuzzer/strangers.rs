//! Feeds [`fuzz::strangers`] from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::strangers(bytes);
});
