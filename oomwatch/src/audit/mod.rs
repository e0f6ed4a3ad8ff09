pub mod auditor;
pub mod backfill;
pub mod recent;
pub mod totals;
