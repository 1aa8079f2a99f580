import unittest

from quotes import find


class TestFind(unittest.TestCase):
    def test_any_case(self):
        self.assertIn("Simplicity", find("Dijkstra"))

    def test_unknown(self):
        self.assertIsNone(find("nobody"))
