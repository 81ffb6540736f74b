//! The order of merged lists: items that the patch names follow the patch's order, the others keep the server's.

use serde_json::Value;

/// Whether two items are the same: by merge key, or by value in lists of scalars.
pub(super) fn same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn index(list: &[Value], item: &Value, merge_key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| same(other, item, merge_key))
}

/// Orders `merged`: items of `patch_order` among themselves as there, the others as in `server_order`; between the two,
/// an item of the server goes first where the server had it first.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let (mut patched, mut server): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| index(patch_order, item, merge_key).is_some());
    patched.sort_by_key(|item| index(patch_order, item, merge_key));
    server.sort_by_key(|item| index(server_order, item, merge_key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(patched.len() + server.len());
    let (mut left, mut right) = (server.into_iter().peekable(), patched.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (index(server_order, l, merge_key), index(server_order, r, merge_key)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        out.extend(if take_left { left.next() } else { right.next() });
    }
}
