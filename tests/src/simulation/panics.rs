//! Panics of simulated tasks. tokio keeps them to itself, so they are counted where they happen: a run has
//! a thread of its own.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are kept for [`take`], and printed as ever.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let printed = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            // A thread that is ending has no more use for it.
            let _ = PANICS.try_with(|panics| panics.borrow_mut().push(text));
            printed(info);
        }));
    });
    let _ = take();
}

/// The panics of this thread since the last call.
#[must_use]
pub fn take() -> Vec<String> {
    PANICS.with(|panics| panics.borrow_mut().split_off(0))
}
