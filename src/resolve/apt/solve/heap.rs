//! A heap that treats equals as the C++ standard library's does: apt's order of open questions follows from it.

/// Brings the last element to its place.
pub(super) fn push_heap<T: Copy>(items: &mut [T], less: &dyn Fn(&T, &T) -> bool) {
    if let Some(last) = items.len().checked_sub(1) {
        rise(items, last, 0, less);
    }
}

/// Takes the greatest element out.
pub(super) fn pop_heap<T: Copy>(items: &mut Vec<T>, less: &dyn Fn(&T, &T) -> bool) -> Option<T> {
    let last = items.pop()?;
    let Some(first) = items.first_mut() else { return Some(last) };
    let greatest = std::mem::replace(first, last);
    sink(items, 0, less);
    Some(greatest)
}

/// Puts all elements in order.
pub(super) fn make_heap<T: Copy>(items: &mut [T], less: &dyn Fn(&T, &T) -> bool) {
    for parent in (0..items.len() / 2).rev() {
        sink(items, parent, less);
    }
}

fn rise<T: Copy>(items: &mut [T], mut at: usize, top: usize, less: &dyn Fn(&T, &T) -> bool) {
    while at > top {
        let parent = (at - 1) / 2;
        if !less(&items[parent], &items[at]) {
            return;
        }
        items.swap(parent, at);
        at = parent;
    }
}

/// Lets an element fall to the bottom along the greater children, and rise from there.
fn sink<T: Copy>(items: &mut [T], top: usize, less: &dyn Fn(&T, &T) -> bool) {
    let mut at = top;
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        if left >= items.len() {
            break;
        }
        let child = if right < items.len() && !less(&items[right], &items[left]) { right } else { left };
        items.swap(at, child);
        at = child;
    }
    rise(items, at, top, less);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_comes_first_and_equals_as_in_the_c_library() {
        let less = |one: &(u8, char), other: &(u8, char)| one.0 < other.0;
        let mut items = Vec::new();
        for item in [(1, 'a'), (2, 'b'), (1, 'c'), (2, 'd'), (3, 'e'), (1, 'f')] {
            items.push(item);
            push_heap(&mut items, &less);
        }
        let all: String = std::iter::from_fn(|| pop_heap(&mut items, &less)).map(|item| item.1).collect();
        // As std::push_heap and std::pop_heap of libstdc++ 12 have it.
        assert_eq!(all, "ebdcaf");
        let mut items = vec![(1, 'a'), (2, 'b'), (3, 'c'), (1, 'd'), (3, 'e')];
        make_heap(&mut items, &less);
        assert_eq!(items.iter().map(|item| item.1).collect::<String>(), "ceadb");
    }
}
