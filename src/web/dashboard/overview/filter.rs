//! What the address of the overview says: which tenants, in which order.

use serde::Deserialize;

use crate::web::address::Address;

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    pub q: Option<String>,
    /// A health, or `person` for all that need one.
    pub health: Option<String>,
    pub sort: Option<String>,
    /// The row the page before ended with.
    pub after: Option<String>,
    pub done: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    #[default]
    Health,
    Backlog,
    Age,
    RateIn,
    Name,
}

impl Sort {
    pub const CHOICES: [(&'static str, &'static str); 5] =
        [("health", "Health, then age"), ("backlog", "Backlog"), ("age", "Age"), ("in", "Rate in"), ("name", "Name")];

    pub fn parse(word: &str) -> Self {
        [Self::Health, Self::Backlog, Self::Age, Self::RateIn, Self::Name]
            .into_iter()
            .find(|sort| sort.word() == word)
            .unwrap_or_default()
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Backlog => "backlog",
            Self::Age => "age",
            Self::RateIn => "in",
            Self::Name => "name",
        }
    }

    pub fn is(self, word: &str) -> bool {
        self.word() == word
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Health => "health, then age of the backlog",
            Self::Backlog => "backlog",
            Self::Age => "age of the backlog",
            Self::RateIn => "rate in",
            Self::Name => "name",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub q: String,
    pub health: Option<String>,
    pub sort: Sort,
    pub after: Option<String>,
}

/// A head of the table.
pub struct Column {
    pub label: String,
    pub class: &'static str,
    pub href: Option<String>,
    pub sorted: bool,
    pub direction: &'static str,
}

impl From<Query> for Filter {
    fn from(query: Query) -> Self {
        Self {
            q: query.q.unwrap_or_default().trim().to_owned(),
            health: query.health.filter(|health| !health.is_empty()),
            sort: query.sort.as_deref().map(Sort::parse).unwrap_or_default(),
            after: query.after,
        }
    }
}

impl Filter {
    fn address(&self) -> Address {
        Address::new("/")
            .some("q", Some(self.q.as_str()).filter(|q| !q.is_empty()))
            .some("health", self.health.as_deref())
            .some("sort", Some(self.sort.word()).filter(|_| self.sort != Sort::Health))
    }

    pub fn first(&self) -> String {
        self.address().to_string()
    }

    pub fn here(&self) -> String {
        self.address().some("after", self.after.as_deref()).to_string()
    }

    pub fn next(&self, after: &str) -> String {
        self.address().some("after", Some(after)).to_string()
    }

    pub fn without_q(&self) -> String {
        Self { q: String::new(), ..self.clone() }.first()
    }

    pub fn of_health(&self, health: Option<&str>) -> String {
        Self { health: health.map(str::to_owned), ..self.clone() }.first()
    }

    pub fn columns(&self, window: &str) -> Vec<Column> {
        let column = |label: &str, class, sort: Option<Sort>| Column {
            label: label.to_owned(),
            class,
            href: sort.map(|sort| Self { sort, ..self.clone() }.first()),
            sorted: sort == Some(self.sort),
            direction: if self.sort == Sort::Name { "ascending" } else { "descending" },
        };
        vec![
            column("Tenant", "", Some(Sort::Name)),
            column("Health", "", Some(Sort::Health)),
            column("Backlog", "num", Some(Sort::Backlog)),
            column(window, "", None),
            column("Age", "num", Some(Sort::Age)),
            column("In / min", "num", Some(Sort::RateIn)),
            column("Out / min", "num", None),
            column("Empty in", "num", None),
            column("Running", "num p2 p3", None),
            column("Retrying", "num p2 p3", None),
            column("Dead", "num", None),
        ]
    }
}
