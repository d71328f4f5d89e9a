//! Splits input into numbered lines with a bound on their length.

use std::io::{self, BufRead};

use super::LINE_BYTES_MAX;
use crate::{LineError, LineFault};

/// Lines of an input; blocks its thread while it waits for them.
#[derive(Debug)]
pub struct LineReader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            number: 0,
        }
    }

    /// Returns the next line with its number, without its end; `None` at the end of the input.
    /// What a line has beyond [`LINE_BYTES_MAX`] is skipped, not kept.
    ///
    /// # Errors
    ///
    /// The outer one if the input fails; the inner one if this line is too long or no text.
    pub fn next_line(&mut self) -> io::Result<Option<Result<(u64, &str), LineError>>> {
        self.line.clear();
        let (mut is_too_long, mut is_any) = (false, false);
        loop {
            let held = match self.input.fill_buf() {
                Ok(held) => held,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if held.is_empty() {
                break;
            }
            is_any = true;
            let end = held.iter().position(|byte| *byte == b'\n');
            let part = &held[..end.unwrap_or(held.len())];
            is_too_long |= self.line.len() + part.len() > LINE_BYTES_MAX;
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(held.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !is_any {
            return Ok(None);
        }
        self.number += 1;
        let line = self.number;
        let fault = |fault| Ok(Some(Err(LineError { line, fault })));
        if is_too_long {
            return fault(LineFault::TooLong {
                limit: LINE_BYTES_MAX,
            });
        }
        match str::from_utf8(&self.line) {
            Ok(text) => Ok(Some(Ok((line, text)))),
            Err(_) => fault(LineFault::NotUtf8),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_or_no_text_is_named_and_the_others_are_kept() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let input = [b"one\n", long.as_slice(), b"\n\xff\xfe\n\nfive"].concat();
        let mut lines = LineReader::new(BufReader::with_capacity(7, input.as_slice()));

        let mut found = Vec::new();
        while let Some(line) = lines.next_line().expect("reads") {
            found.push(line.map(|(number, text)| (number, text.to_owned())));
        }

        let fault = |line, fault| Err(LineError { line, fault });
        let expected = [
            Ok((1, "one".to_owned())),
            fault(
                2,
                LineFault::TooLong {
                    limit: LINE_BYTES_MAX,
                },
            ),
            fault(3, LineFault::NotUtf8),
            Ok((4, String::new())),
            Ok((5, "five".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
