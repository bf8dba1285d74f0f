//! Every command of docs/failover.md, as it stands there.

use crate::support::{DOCUMENT, RunningNode, files, path, stickler};

const PAGE: &str = include_str!("../../../../docs/failover.md");

/// What stands in the page's blocks of this language.
fn blocks(language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    PAGE.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_command_of_the_page_on_failover_runs_in_its_order() {
    let node = RunningNode::start();
    let directory = files(&[("cluster.toml", DOCUMENT)]);
    assert_eq!(node.say(&["apply", &path(&directory, "cluster.toml")]).code, Some(0));
    let commands = blocks("sh").concat();
    let mut run = 0;
    for line in commands.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "stickler", "{line}");
        let mut said = node.say(&words[1..]);
        // The job before is about to find that it has nothing to do.
        for _ in 0..100 {
            if !said.errors.contains("is at work in the same pool") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            said = node.say(&words[1..]);
        }
        // Nobody has a session here, so that a job is over before it can be paused.
        let over = said.code == Some(1) && said.errors.contains("it is over");
        assert!(said.code == Some(0) || over, "{line}: {said:?}");
        run += 1;
    }
    assert!(run >= 12, "{run} commands");
}

#[test]
fn every_piece_of_a_document_on_the_page_is_a_valid_one() {
    for (number, block) in blocks("toml").into_iter().enumerate() {
        let text = DOCUMENT.replacen("[[pool.backend]]", &format!("{block}\n[[pool.backend]]"), 1);
        let name = format!("cluster-{number}.toml");
        let directory = files(&[(&name, &text)]);
        let checked = stickler(&["check", &path(&directory, &name)]);
        assert_eq!(checked.code, Some(0), "{block}: {checked:?}");
    }
}
