mod damage;
mod endings;
mod process;
mod speed;
