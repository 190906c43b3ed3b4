//! What a document does when it is opened, where that is told in an object of its own.

/// Objects that are remembered.
const MAX_ACTIONS: usize = 1 << 16;
/// References to what happens at opening; a document has one.
const MAX_OPENED: usize = 8;

/// What one object has to do with it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Opening {
    /// `/OpenAction` refers to the object of this number.
    pub(super) opens: Option<u64>,
    /// It is an action that opens an address or plays something, or that others follow.
    pub(super) leads: bool,
}

/// What all objects so far have to do with it.
#[derive(Debug, Default, Clone)]
pub(super) struct Openings {
    opened: Vec<u64>,
    /// Numbers of actions that lead somewhere.
    leading: Vec<u64>,
    /// An action whose number is not known, or one too many of them.
    any: bool,
    many: bool,
}

impl Openings {
    /// Remembers an object.
    pub(super) fn note(&mut self, number: Option<u64>, opening: Opening) {
        if let Some(opened) = opening.opens
            && !self.opened.contains(&opened)
        {
            self.many |= self.opened.len() == MAX_OPENED;
            self.opened.push(opened);
            self.opened.truncate(MAX_OPENED);
        }
        match number {
            _ if !opening.leads => {}
            Some(number) if self.leading.len() < MAX_ACTIONS => self.leading.push(number),
            _ => self.any = true,
        }
    }

    /// Whether an action that leads somewhere happens at opening.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let leads = |opened: &u64| self.any || self.leading.contains(opened);
        (self.many || self.opened.iter().any(leads)).then_some("a PDF that acts when it is opened")
    }
}
