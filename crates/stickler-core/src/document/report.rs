//! Collects the problems of one document while it is read and checked, so that all of them are found in
//! one go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use super::problem::{Problem, Problems};

/// Bytes of the document's text.
pub(super) type Place = Range<usize>;

/// What is wrong, without its place.
#[derive(Debug)]
pub(super) struct Complaint {
    pub message: String,
    pub suggestion: Option<String>,
}

impl Complaint {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    pub fn help(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }
}

/// The problems of one document that were found so far.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line starts.
    lines: Vec<usize>,
    /// Lines that are not TOML. The parser guesses what they hold, so nothing else is said about them.
    broken: BTreeSet<u32>,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let starts = text.match_indices('\n').map(|(end, _)| end + 1).filter(|start| *start < text.len());
        let lines = std::iter::once(0).chain(starts).collect();
        Self { file, text, lines, broken: BTreeSet::new(), found: RefCell::default() }
    }

    /// Adds what the TOML parser found.
    pub fn add_syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let place = error.span().unwrap_or(0..0);
            let complaint = syntax_complaint(error.message(), self.line_text(place.start));
            self.push(&place, complaint);
            self.broken.insert(self.line(&place));
        }
    }

    /// Adds a problem of what stands at `place`.
    pub fn add(&self, place: &Place, complaint: Complaint) {
        if !self.broken.contains(&self.line(place)) {
            self.push(place, complaint);
        }
    }

    /// Adds that something is nowhere in the document. What is missing may stand on a line that could not
    /// be read, so this is said only when all could be.
    pub fn add_missing(&self, place: &Place, complaint: Complaint) {
        if self.broken.is_empty() {
            self.push(place, complaint);
        }
    }

    /// The line of a place, counted from 1.
    pub fn line(&self, place: &Place) -> u32 {
        let count = self.lines.partition_point(|start| *start <= place.start);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The checked document, or all that was wrong with it.
    pub fn finish<T>(self, checked: Option<T>) -> Result<T, Problems> {
        match Problems::new(self.found.into_inner()) {
            Some(problems) => Err(problems),
            None => Ok(checked.expect("a part is left out only after its problem was added")),
        }
    }

    fn push(&self, place: &Place, complaint: Complaint) {
        let line = self.line(place);
        let start = self.line_start(line);
        // the end of the text belongs to its last line, whose own end doesn't count
        let before = self.text.get(start..place.start).unwrap_or_default().trim_end_matches(['\r', '\n']);
        self.found.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line,
            column: u32::try_from(before.chars().count()).map_or(u32::MAX, |count| count + 1),
            message: complaint.message,
            suggestion: complaint.suggestion,
        });
    }

    fn line_start(&self, line: u32) -> usize {
        usize::try_from(line - 1).ok().and_then(|index| self.lines.get(index)).copied().unwrap_or(0)
    }

    fn line_text(&self, offset: usize) -> &'t str {
        let start = self.line_start(self.line(&(offset..offset)));
        self.text[start..].lines().next().unwrap_or_default()
    }
}

/// Says what the parser says, with the help that the most common slip needs.
fn syntax_complaint(message: &str, line: &str) -> Complaint {
    let message = message.strip_suffix(", expected nothing").unwrap_or(message);
    let complaint = Complaint::new(format!("not TOML: {message}"));
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    let bare = value.starts_with(|first: char| first.is_alphanumeric())
        && value.contains(|any: char| any.is_alphabetic() || any == ':');
    if bare {
        complaint.help("durations, sizes, addresses and names stand in double quotes, such as \"30s\"")
    } else {
        complaint
    }
}

/// A piece of the document as a message shows it: in quotes, on one line, cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// "did you mean", for the candidate that is closest to `word`, if one is close enough to be a slip.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = plain(word);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance < candidate.len() && *distance <= (candidate.len() / 3).max(1)
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Case and the kind of dash make no difference to what somebody meant.
fn plain(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// How many characters have to be put in, left out, replaced, or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(l != r);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}
