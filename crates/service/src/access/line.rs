//! A line in which nobody is kept waiting by how much others ask for: parties take turns, and within a party its
//! members, and so on. When it is too long, the one who asks for most loses what came last.

use std::collections::VecDeque;

/// What waits, each in a place that says whose it is.
pub(super) trait Line: Default {
    /// Whose something is, from the widest party to the narrowest.
    type Place;
    /// What waits.
    type Item;

    /// How many wait.
    fn len(&self) -> usize;

    /// Joins the end of its own party's line.
    fn join(&mut self, place: Self::Place, item: Self::Item);

    /// Whose turn it is.
    fn next(&mut self) -> Option<Self::Item>;

    /// Takes out what came last in the longest line.
    fn push_out(&mut self) -> Option<Self::Item>;
}

/// One after the other.
pub(super) struct InOrder<T>(VecDeque<T>);

/// Parties that take turns. There are never more of them than wait, so they are looked up one by one.
pub(super) struct InTurns<P, L>(VecDeque<(P, L)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<P, L> Default for InTurns<P, L> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Line for InOrder<T> {
    type Place = ();
    type Item = T;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn join(&mut self, (): (), item: T) {
        self.0.push_back(item);
    }

    fn next(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn push_out(&mut self) -> Option<T> {
        self.0.pop_back()
    }
}

impl<P: PartialEq, L: Line> Line for InTurns<P, L> {
    type Place = (P, L::Place);
    type Item = L::Item;

    fn len(&self) -> usize {
        self.0.iter().map(|(_, line)| line.len()).sum()
    }

    fn join(&mut self, (party, place): Self::Place, item: L::Item) {
        if let Some((_, line)) = self.0.iter_mut().find(|(there, _)| *there == party) {
            return line.join(place, item);
        }
        let mut line = L::default();
        line.join(place, item);
        self.0.push_back((party, line));
    }

    fn next(&mut self) -> Option<L::Item> {
        let (party, mut line) = self.0.pop_front()?;
        let item = line.next();
        if line.len() > 0 {
            self.0.push_back((party, line));
        }
        item
    }

    fn push_out(&mut self) -> Option<L::Item> {
        let lengths = self.0.iter().map(|(_, line)| line.len()).enumerate();
        // Of equals the last, who has waited least.
        let (longest, _) = lengths.max_by_key(|(_, length)| *length)?;
        let (_, line) = self.0.get_mut(longest)?;
        let item = line.push_out();
        if line.len() == 0 {
            self.0.remove(longest);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestLine = InTurns<&'static str, InTurns<u8, InOrder<u32>>>;

    fn all(mut line: TestLine) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(item) = line.next() {
            order.push(item);
        }
        order
    }

    fn of(items: &[(&'static str, u8, u32)]) -> TestLine {
        let mut line = TestLine::default();
        for (party, member, item) in items {
            line.join((*party, (*member, ())), *item);
        }
        line
    }

    #[test]
    fn parties_take_turns_and_their_members_too() {
        let line = of(&[
            ("a", 1, 1),
            ("a", 1, 2),
            ("a", 1, 3),
            ("a", 2, 4),
            ("b", 1, 5),
            ("a", 2, 6),
            ("b", 1, 7),
        ]);
        assert_eq!(line.len(), 7);
        assert_eq!(all(line), [1, 5, 4, 7, 2, 6, 3]);
    }

    #[test]
    fn who_comes_new_waits_for_one_turn_of_each_other_party() {
        let mut line = of(&[("a", 1, 1), ("a", 2, 2), ("a", 3, 3)]);
        assert_eq!(line.next(), Some(1));
        line.join(("b", (1, ())), 4);
        assert_eq!(line.next(), Some(2));
        assert_eq!(line.next(), Some(4));
        assert_eq!(line.next(), Some(3));
        assert_eq!(line.next(), None);
    }

    #[test]
    fn the_longest_line_loses_its_last() {
        let mut line = of(&[
            ("a", 1, 1),
            ("b", 1, 2),
            ("b", 2, 3),
            ("b", 2, 4),
            ("c", 1, 5),
            ("c", 1, 6),
        ]);
        assert_eq!(line.push_out(), Some(4));
        assert_eq!(line.push_out(), Some(6));
        assert_eq!(line.push_out(), Some(3));
        assert_eq!(all(line), [1, 2, 5]);
        assert_eq!(TestLine::default().push_out(), None);
    }
}
