# ruff: noqa: RUF001 - Chinese and Japanese have punctuation of their own
"""Texts with the number of tokens that they have: counted once with the public byte-pair encoding cl100k_base."""

from __future__ import annotations

ENGLISH = """\
The harbour office keeps two lists. On the first stand the ships that are expected, each with its agent, its draught and
the hour at which the pilot should be called; on the second those that have left without paying. Nobody remembers who
began the second list, but it is longer than the first, and the clerk who writes it has never been asked to stop.
When a storm closes the outer channel, both lists are carried upstairs. The pilots play cards, the agents telephone, and
somebody always finds that a ship which left years ago has come back under another name, with the same old captain.
"""
PYTHON = '''\
@dataclass(frozen=True, slots=True)
class Window:
    """The calls of the last `seconds`."""

    seconds: float
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def book(self, now: float, size: int = 1) -> None:
        """Count `size` calls at `now`, and forget what is too old."""
        while self.marks and self.marks[0][0] <= now - self.seconds:
            self.marks.popleft()
        self.marks.append((now, size))

    @property
    def total(self) -> int:
        return sum(size for _, size in self.marks)
'''
JSON = """\
{"order": {"id": "A-20931", "placed_at": "2026-03-14T09:26:53Z", "currency": "EUR", "total": 1249.5, "paid": true,
"lines": [{"sku": "CH-77", "name": "Desk chair, oak", "quantity": 2, "unit_price": 399.0, "tags": ["office", "wood"]},
{"sku": "LP-03", "name": "Reading lamp", "quantity": 3, "unit_price": 150.5, "tags": []}], "customer": {"name":
"Ines Carvalho", "email": "ines@example.com", "address": {"street": "Rua das Flores 12", "city": "Porto", "zip":
"4050-262"}, "loyalty_points": null}}}
"""
CHINESE = """\
港口办公室有两份名单。第一份写着即将到港的船只、代理人、吃水深度，以及需要叫领航员的时间；第二份写着没有付款就离开的船。\
没有人记得是谁开始写第二份名单的，但它比第一份长得多，写它的职员也从来没有被要求停下来。暴风雨封锁外航道的时候，\
两份名单都会被拿到楼上。领航员打牌，代理人打电话，总会有人发现，某艘多年前离开的船换了名字又回来了，船长还是同一个人。
"""
JAPANESE = """\
港の事務所には二つの名簿がある。一つ目には、到着する予定の船と、その代理人、喫水、水先案内人を呼ぶ時刻が書かれている。\
二つ目には、支払いをせずに出て行った船が書かれている。二つ目の名簿を誰が始めたのかは誰も覚えていないが、一つ目より長く、\
それを書いている職員は一度もやめるように言われたことがない。嵐で外の水路が閉じると、二つの名簿は二階へ運ばれる。
"""
KOREAN = """\
항구 사무소에는 두 개의 명단이 있다. 첫 번째에는 도착할 예정인 배와 그 대리인, 흘수, 도선사를 불러야 할 시각이 적혀 \
있다. 두 번째에는 돈을 내지 않고 떠난 배들이 적혀 있다. 누가 두 번째 명단을 시작했는지는 아무도 기억하지 못하지만, \
그것은 첫 번째보다 길고, 그것을 쓰는 직원은 그만두라는 말을 들은 적이 없다. \
폭풍이 바깥 수로를 막으면 두 명단은 위층으로 옮겨진다.
"""
SPANISH = """\
La oficina del puerto guarda dos listas. En la primera están los barcos que se esperan, cada uno con su agente, su
calado y la hora a la que hay que llamar al práctico; en la segunda, los que se fueron sin pagar. Nadie recuerda quién
empezó la segunda lista, pero es más larga que la primera, y al empleado que la escribe nunca le han pedido que lo deje.
"""

COUNTED = {
    "English": (ENGLISH, 127),
    "Python": (PYTHON, 144),
    "JSON": (JSON, 188),
    "Chinese": (CHINESE, 205),
    "Japanese": (JAPANESE, 205),
    "Korean": (KOREAN, 205),
    "Spanish": (SPANISH, 99),
}
"""Text and count, by what it is."""
