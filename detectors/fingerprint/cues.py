"""Cue words, in a dozen languages: the second leg of intent detection, never the only one.

Each list covers the same few notions in English, German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese,
Korean, Arabic and Hindi, one language to a line where there is room; entries are folded stems, matched as substrings. The
lists are short on purpose: what a caller cannot avoid is the form of the answer and the shape of the exchange, so
`intents` looks at those first and asks for words where the form is ambiguous.
"""

from __future__ import annotations


class Cues:
    """Stems of many languages; those that plain ASCII text can hold stand apart, since most text is plain.

    Beside each marked stem stands a character of it: few texts hold characters of many scripts, and where the
    character is missing the stem need not be looked for.
    """

    __slots__ = ("ascii", "every", "marked")

    def __init__(self, stems: tuple[str, ...]) -> None:
        self.every = stems
        self.marked = tuple((max(stem), stem) for stem in stems)
        self.ascii = tuple(stem for stem in stems if stem.isascii())


def _stems(listed: str) -> Cues:
    """Stems separated by " | " or line ends, without repeats."""
    return Cues(
        tuple(
            dict.fromkeys(
                stem.strip("|").strip() for line in listed.splitlines() for stem in line.split(" | ") if stem.strip("| ")
            )
        )
    )


REASONING = _stems(
    """
    reasoning | step by step | step-by-step | chain of thought | chain-of-thought | thought process | arrived at
    think aloud | thinking | each step | work through | every step | show your work | derivation | explain why | monolog
    schritt für schritt | gedankengang | überlegung | begründ | herleit | denkschritt
    étape par étape | raisonnement | démarche | pas à pas
    paso a paso | razonamiento
    passo a passo | raciocínio
    passo dopo passo | ragionamento
    шаг за шагом | пошагов | рассужд | ход мысл | монолог
    一步一步 | 逐步 | 推理 | 思考 | 思路 | 思维 | 独白
    順を追 | 推論 | 段階的 | 独り言
    단계별 | 추론 | 사고 과정 | 생각
    خطوة بخطوة | تفكير | استدلال
    चरण दर चरण | तर्क | सोच
    """
)
"""Asking for the reasoning: step by step, chain of thought, how you arrived at it."""

WHY = _stems(
    """
    why | justif | reasons for | warum | weshalb | pourquoi | por qué | por quê | por que | perché | почему | обосн
    为什么 | 为何 | 理由 | なぜ | どうして | 왜 | 이유 | لماذا | क्यों
    """
)
"""Asking for grounds; far too common to mean anything unless a finished answer comes along."""

ANSWER_LABEL = _stems(
    """
    answer | solution | outcome | decision | decided | verdict | result | response | conclusion
    antwort | lösung | ergebnis | entscheidung
    réponse | décision | résultat
    respuesta | solución | decisión | resultado
    resposta | solução | decisão
    risposta | soluzione | decisione
    ответ | решение | вывод
    答案 | 回答 | 结果 | 结论
    答え | 解答 | 結論
    답변 | 정답 | 결과
    إجابة | الجواب | النتيجة
    उत्तर | परिणाम
    """
)
"""Labels of an answer that is brought along."""

GRADING = _stems(
    """
    rate | rating | score | grade | grading | rubric | criteri | evaluat | judge | assess | which is better
    bewert | benot | beurteil
    note sur | évalu | notez | barème
    evalú | califica | puntú
    puntua | avali
    valuta | punteggio
    оцен | балл | критери
    评分 | 打分 | 评价 | 评估 | 标准
    採点 | 評価 | 点数
    평가 | 점수 | 채점
    تقييم | درجة
    मूल्यांकन | अंक
    """
)
"""Having something graded."""

MAKING = _stems(
    """
    generate | create | come up with | invent | propose | write a new | write one | produce | compose | draft
    design | simulate
    erzeug | erstell | erfinde | entwirf
    génér | génèr | crée | invente | rédige | imagine
    genera | crea | inventa | elabora
    gere  | gerar | crie | elabore
    придум | состав | созда | сгенерир
    生成 | 编写 | 创建 | 设计 | 设想
    作成 | 考えて
    만들 | 생성 | 작성
    أنشئ | اكتب
    बनाओ | बनाएं | लिख
    """
)
"""Making something new."""

TASKS = _stems(
    """
    task | question | exercise | instruction | problem | persona | dialogue | conversation | scenario | prompt | quiz
    aufgabe | frage | übung | anweisung | gespräch
    tâche | exercice | énoncé | consigne
    tarea | pregunta | ejercicio | instruccion | diálogo
    tarefa | pergunta | exercício
    compit | domand | eserciz | istruzion
    задан | вопрос | упражнен | инструкц | диалог | задач
    任务 | 问题 | 指令 | 练习 | 题目 | 对话
    課題 | 質問 | 問題 | 対話
    과제 | 질문 | 문제 | 대화
    مهمة | سؤال | تمرين | حوار
    कार्य | प्रश्न | अभ्यास | संवाद
    """
)
"""What a training set is made of."""

REWRITING = _stems(
    """
    rewrite | rephras | paraphras | reformulat | clean up | clean the | clean this | cleaned | normaliz | normalis | polish
    tidy | restructur | more complex | more difficult | harder | harden
    umschreib | umformulier | bereinig | überarbeit | schwieriger
    réécri | reformul | nettoi | plus difficile
    reescrib | limpia | más difícil
    reescrev | limpe | mais difícil
    riscriv | riformul | più difficil
    перепиш | перефраз | очист | сложнее
    改写 | 重写 | 改寫 | 清理 | 整理 | 更难 | 更复杂
    書き換え | 言い換え | 整形 | 難しく
    다시 써 | 바꿔 | 정리 | 더 어렵
    أعد كتابة | أعد صياغة
    पुनर्लिख | दोबारा लिख
    """
)
"""Rewriting, cleaning, or making harder."""

HIDDEN = _stems(
    """
    system prompt | hidden | verbatim | internal | unfiltered | scratchpad | raw thought | your instructions | word for word
    systemprompt | versteckt | wörtlich | interne
    caché | mot pour mot
    oculto | oculta | textual
    palavra por palavra
    nascost | parola per parola
    скрыт | дословно | внутренн
    系统提示 | 隐藏 | 原文 | 内部 | 逐字
    隠され | そのまま
    숨겨 | 내부 | 그대로
    مخفي | حرفيا
    छिपा | शब्दशः
    """
)
"""Hidden instructions and hidden reasoning."""

THOUGHT_NAMES = _stems(
    """
    think | thought | reason | scratch | cot | analysis | rationale | deliberat | reflect | monolog | steps | derivation
    denk | gedank | überleg | pens | raison | razon | raciocin | ragion | мысл | рассужд
    思 | 推理 | 考え | 생각 | 추론 | تفكير | विचार
    """
)
"""Names of tags or keys that hold a thought."""


class Searched:
    """A folded text that is asked about cues more than once."""

    __slots__ = ("_characters", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._characters = None if text.isascii() else set(text)

    def holds(self, cues: Cues) -> bool:
        """Whether the text holds any of the cues."""
        text, characters = self.text, self._characters
        if characters is None:
            for cue in cues.ascii:  # noqa: SIM110 - a generator costs more than the searches it drives
                if cue in text:
                    return True
            return False
        for character, cue in cues.marked:  # noqa: SIM110
            if character in characters and cue in text:
                return True
        return False


def any_in(text: str, cues: Cues) -> bool:
    """Whether the folded text holds any of the cues."""
    return Searched(text).holds(cues)
