import unittest
from harness import Case

ECHO = """
def model_fn(model_dir):
    return model_dir
def predict_fn(data, model):
    return data
"""

class First(Case):
    def test_echo(self):
        s = self.serve(ECHO)
        self.assertEqual(s.ask(b'{"a": 1}')[::2], (200, b'{"a": 1}'))
        self.assertEqual(s.ping(), 200)
        s.terminate()
        self.assertEqual(s.wait(), 0)
        self.assertEqual(s.failure(), "")

if __name__ == "__main__":
    unittest.main()
