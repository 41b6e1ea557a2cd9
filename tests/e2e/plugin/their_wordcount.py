"""How often each word occurs."""

from collections import Counter

from lmkit.api import Field, Table, Task, hookimpl


class WordCount(Task):
    name = "wordcount"
    title = "Word count"
    fields = (Field.text("text"), Field.boolean("lower", default=True))

    def run(self, model, *, text, lower):
        trace = model.trace(text.lower() if lower else text)
        counted = Counter(trace.text[word.start : word.end] for word in trace.words)
        return Table(columns=("word", "count"), rows=tuple(counted.most_common()))


@hookimpl
def lmkit_register_tasks(register):
    register(WordCount)
