use proptest::prelude::*;
use stickler_core::document::problem::Problems;
use stickler_core::document::{check_cluster, check_node};

const CLUSTER: &str = include_str!("../../../../deploy/examples/cluster.toml");
const NODE: &str = include_str!("../../../../deploy/examples/three-nodes/node-1.toml");

/// Pieces that a document may hold, in any order.
const PIECES: [&str; 40] = [
    "\n",
    "\r\n",
    " ",
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "version = 1",
    "limits",
    "listener",
    "pool",
    "backend",
    "affinity",
    "by",
    "route",
    "member",
    "listener_addresses",
    "name",
    "id",
    "\"30s\"",
    "\"a\"",
    "\"127.0.0.1:80\"",
    "0",
    "-1",
    "0x",
    "1979-05-27",
    "true",
    "method = \"cookie\"",
    "\u{feff}",
    "ä",
    "\\",
];

/// Checks `text` as both documents, and that what is reported can be found in it.
fn examine(text: &str) -> Result<(), TestCaseError> {
    places_are_within(text, check_cluster("file", text).err())?;
    places_are_within(text, check_node("file", text).err())
}

fn places_are_within(text: &str, problems: Option<Problems>) -> Result<(), TestCaseError> {
    let Some(problems) = problems else { return Ok(()) };
    prop_assert!(!problems.as_slice().is_empty());
    prop_assert!(problems.as_slice().is_sorted());
    let lines: Vec<&str> = text.lines().collect();
    for problem in problems.as_slice() {
        let index = problem.line as usize - 1;
        prop_assert!(index < lines.len().max(1), "{problem} of {} lines", lines.len());
        // one past the end for what is missing there
        let width = lines.get(index).map_or(0, |line| line.chars().count());
        prop_assert!((1..=width + 1).contains(&(problem.column as usize)), "{problem} of {width} columns");
    }
    Ok(())
}

/// An example with some of its lines removed, doubled, cut or replaced.
fn damaged(example: &'static str) -> impl Strategy<Value = String> {
    let damage = (any::<prop::sample::Index>(), 0..5_u8, any::<prop::sample::Index>(), "\\PC{0,12}");
    prop::collection::vec(damage, 1..8).prop_map(move |damages| {
        let mut lines: Vec<String> = example.lines().map(str::to_owned).collect();
        for (line, kind, place, put) in damages {
            let index = line.index(lines.len());
            match kind {
                0 => drop(lines.remove(index)),
                1 => lines.insert(index, lines[place.index(lines.len())].clone()),
                2 => lines[index] = put,
                _ => {
                    let mut characters: Vec<char> = lines[index].chars().collect();
                    let at = place.index(characters.len() + 1);
                    match kind {
                        3 => characters.truncate(at),
                        _ => drop(characters.splice(at..at, put.chars())),
                    }
                    lines[index] = characters.into_iter().collect();
                }
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_checking_panic(text in any::<String>()) {
        examine(&text)?;
    }

    #[test]
    fn no_mix_of_pieces_makes_checking_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)
    ) {
        examine(&pieces.concat())?;
    }

    #[test]
    fn no_damage_to_a_document_makes_checking_panic(
        cluster in damaged(CLUSTER),
        node in damaged(NODE),
    ) {
        examine(&cluster)?;
        examine(&node)?;
    }
}

#[test]
fn garbage_is_cut_to_a_thousand_problems() {
    let text = "a\n".repeat(200_000);
    let problems = check_cluster("file", &text).unwrap_err();
    assert_eq!(problems.as_slice().len(), 1_000);
    assert!(problems.left_out() > 100_000, "{} left out", problems.left_out());
}

#[test]
fn what_ends_too_early_is_reported_at_the_end_of_the_last_line() {
    for text in ["version = 1\na = \"\"\"", "version = 1\na = \"\"\"\n", "version = 1\r\na = \"\"\"\r\n"] {
        let problems = check_cluster("file", text).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems}") };
        assert_eq!((problem.line, problem.column), (2, 8), "{text:?}");
    }
}
