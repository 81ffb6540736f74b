//! Unified diffs as upstream prints them in messages: its differ is a port of Python's `difflib.SequenceMatcher`, whose
//! choice of matching lines (the longest block first, lines that occur often counting for nothing) no other algorithm
//! makes.

use std::collections::HashMap;
use std::ops::Range;

/// Lines around a change.
const CONTEXT: usize = 3;
/// From so many lines on, a line that makes up more than a hundredth of the text is no start of a match.
const LONG_TEXT: usize = 200;

/// Lines that both texts have: where they start in each, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    old: usize,
    new: usize,
    length: usize,
}

/// A part of both texts, equal or replaced (by nothing, or in place of nothing).
#[derive(Clone, Debug)]
struct Step {
    equal: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// The hunks of the difference between two texts; no file names.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut out = String::new();
    for group in grouped(steps(&blocks(&old, &new), old.len(), new.len())) {
        print(&group, &old, &new, &mut out);
    }
    out
}

/// Where the lines of the new text are, but for those that are all over it.
fn index<'a>(new: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(i);
    }
    if new.len() >= LONG_TEXT {
        places.retain(|_, at| at.len() <= new.len() / 100 + 1);
    }
    places
}

/// All matching blocks in order, those that touch joined.
fn blocks(old: &[&str], new: &[&str]) -> Vec<Block> {
    let places = index(new);
    let mut open = vec![(0..old.len(), 0..new.len())];
    let mut found = Vec::new();
    while let Some((a, b)) = open.pop() {
        let block = longest(old, new, &places, &a, &b);
        if block.length == 0 {
            continue;
        }
        open.push((a.start..block.old, b.start..block.new));
        open.push((block.old + block.length..a.end, block.new + block.length..b.end));
        found.push(block);
    }
    found.sort_by_key(|block| (block.old, block.new));
    let mut joined: Vec<Block> = Vec::with_capacity(found.len());
    for block in found {
        match joined.last_mut() {
            Some(last) if last.old + last.length == block.old && last.new + last.length == block.new => {
                last.length += block.length;
            }
            _ => joined.push(block),
        }
    }
    joined
}

/// The longest block in these ranges, the first of several; frequent lines only lengthen it.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> Block {
    let mut best = Block { old: a.start, new: b.start, length: 0 };
    // The lengths of the matches that end at the previous old line, by the new line that they end at.
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for i in a.clone() {
        let mut current = HashMap::new();
        for j in places.get(old[i]).into_iter().flatten().copied().filter(|j| b.contains(j)) {
            let length = j.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or(0) + 1;
            current.insert(j, length);
            if length > best.length {
                best = Block { old: i + 1 - length, new: j + 1 - length, length };
            }
        }
        lengths = current;
    }
    while best.old > a.start && best.new > b.start && old[best.old - 1] == new[best.new - 1] {
        best = Block { old: best.old - 1, new: best.new - 1, length: best.length + 1 };
    }
    while best.old + best.length < a.end
        && best.new + best.length < b.end
        && old[best.old + best.length] == new[best.new + best.length]
    {
        best.length += 1;
    }
    best
}

fn steps(blocks: &[Block], old: usize, new: usize) -> Vec<Step> {
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    for block in blocks.iter().copied().chain([Block { old, new, length: 0 }]) {
        if i < block.old || j < block.new {
            out.push(Step { equal: false, old: i..block.old, new: j..block.new });
        }
        (i, j) = (block.old + block.length, block.new + block.length);
        if block.length > 0 {
            out.push(Step { equal: true, old: block.old..i, new: block.new..j });
        }
    }
    out
}

/// The steps of each hunk: changes with their context.
fn grouped(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut groups: Vec<Vec<Step>> = Vec::new();
    let mut group: Vec<Step> = Vec::new();
    let count = steps.len();
    for (at, step) in steps.into_iter().enumerate() {
        if !step.equal {
            group.push(step);
            continue;
        }
        let length = step.old.len();
        let head = |n: usize| Step {
            equal: true,
            old: step.old.start..step.old.start + n,
            new: step.new.start..step.new.start + n,
        };
        let tail =
            |n: usize| Step { equal: true, old: step.old.end - n..step.old.end, new: step.new.end - n..step.new.end };
        if at == 0 {
            group.push(tail(length.min(CONTEXT)));
        } else if at + 1 == count {
            group.push(head(length.min(CONTEXT)));
        } else if length > 2 * CONTEXT {
            group.push(head(CONTEXT));
            groups.push(std::mem::take(&mut group));
            group.push(tail(CONTEXT));
        } else {
            group.push(step);
        }
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.equal));
    groups
}

fn print(group: &[Step], old: &[&str], new: &[&str], out: &mut String) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    // Lines count from one, an empty range names the line before it, and one line has no length.
    let range = |range: Range<usize>| match range.len() {
        1 => format!("{}", range.start + 1),
        0 => format!("{},0", range.start),
        length => format!("{},{length}", range.start + 1),
    };
    let (before, after) = (range(first.old.start..last.old.end), range(first.new.start..last.new.end));
    *out += &format!("@@ -{before} +{after} @@\n");
    let mut lines = |sign: char, lines: &[&str]| lines.iter().for_each(|line| *out += &format!("{sign}{line}\n"));
    for step in group {
        if step.equal {
            lines(' ', &old[step.old.clone()]);
        } else {
            lines('-', &old[step.old.clone()]);
            lines('+', &new[step.new.clone()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks() {
        assert_eq!(unified("a\nb\n", "a\nb\n"), "");
        assert_eq!(unified("a\n", "b\n"), "@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(unified("", "a\nb\n"), "@@ -0,0 +1,2 @@\n+a\n+b\n");
        let old: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[5] = "x".to_owned();
        new.remove(25);
        let expected =
            "@@ -3,7 +3,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -23,7 +23,6 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28\n";
        assert_eq!(unified(&old.join("\n"), &new.join("\n")), expected);
    }

    #[test]
    fn the_longest_block_is_matched_first() {
        // Myers' algorithm would keep the first item and add behind it.
        let (old, new) = ("[\n{\nn\n}\n]\n", "[\n{\nn\n},\n{\nn\n}\n]\n");
        assert_eq!(unified(old, new), "@@ -1,4 +1,7 @@\n [\n+{\n+n\n+},\n {\n n\n }\n");
    }

    #[test]
    fn frequent_lines_start_no_match_in_long_texts() {
        let line = |n: usize| if n.is_multiple_of(2) { "}".to_owned() } else { n.to_string() };
        let old: Vec<String> = (0..300).map(line).collect();
        assert!(!index(&old.iter().map(String::as_str).collect::<Vec<_>>()).contains_key("}"));
        assert!(index(&["}", "}"]).contains_key("}"));
    }
}
