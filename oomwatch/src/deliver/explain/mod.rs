//! One kill's whole story on a page, from its JSON record, which may come from another machine: what is not there or has
//! another type is left out.
//!
//! A [`Page`] is what the page says, not yet escaped; [`text`] and [`html`] write it.

mod advice;
pub mod html;
mod page;
mod record;
pub mod text;

pub use self::page::Page;

#[cfg(test)]
mod tests;
