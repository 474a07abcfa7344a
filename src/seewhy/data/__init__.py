"""What goes in: pictures, safely decoded, and the generated world of the tests."""
