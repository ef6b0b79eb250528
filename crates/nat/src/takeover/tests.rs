mod damage;
mod endings;
mod kinds;
mod process;
mod speed;
