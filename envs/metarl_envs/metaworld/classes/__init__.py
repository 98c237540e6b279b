"""Meta-World's 50 classes of tasks; similar classes share a file."""

from metarl_envs.metaworld.classes.boxes import BinPicking, BoxClose, PickOutOfHole
from metarl_envs.metaworld.classes.buttons import (
    ButtonPress,
    ButtonPressTopdown,
    ButtonPressTopdownWall,
    ButtonPressWall,
    CoffeeButton,
)
from metarl_envs.metaworld.classes.doors import DoorClose, DoorLock, DoorOpen, DoorUnlock
from metarl_envs.metaworld.classes.handles import HandlePress, HandlePressSide, HandlePull, HandlePullSide, LeverPull
from metarl_envs.metaworld.classes.pegs import PegInsertSide, PegUnplugSide
from metarl_envs.metaworld.classes.placing import Basketball, HandInsert, PickPlace, PickPlaceWall, ShelfPlace
from metarl_envs.metaworld.classes.plates import PlateSlide, PlateSlideBack, PlateSlideBackSide, PlateSlideSide
from metarl_envs.metaworld.classes.pushing import (
    CoffeePull,
    CoffeePush,
    Push,
    PushBack,
    PushWall,
    Soccer,
)
from metarl_envs.metaworld.classes.reaching import Reach, ReachWall
from metarl_envs.metaworld.classes.sliding import DrawerClose, DrawerOpen, WindowClose, WindowOpen
from metarl_envs.metaworld.classes.sticks import StickPull, StickPush
from metarl_envs.metaworld.classes.sweeping import Sweep, SweepInto
from metarl_envs.metaworld.classes.tools import Assembly, Disassemble, Hammer
from metarl_envs.metaworld.classes.turning import DialTurn, FaucetClose, FaucetOpen
from metarl_envs.metaworld.task_class import TaskClass

TASK_CLASSES: dict[str, TaskClass] = {
    task_class.name: task_class()
    for task_class in (
        Push,
        Reach,
        ReachWall,
        PickPlace,
        PickPlaceWall,
        ShelfPlace,
        HandInsert,
        Basketball,
        BinPicking,
        PickOutOfHole,
        BoxClose,
        ButtonPress,
        ButtonPressTopdown,
        ButtonPressTopdownWall,
        ButtonPressWall,
        CoffeeButton,
        HandlePress,
        HandlePressSide,
        HandlePull,
        HandlePullSide,
        LeverPull,
        DialTurn,
        DoorClose,
        DoorLock,
        DoorOpen,
        DoorUnlock,
        DrawerClose,
        DrawerOpen,
        FaucetClose,
        FaucetOpen,
        WindowClose,
        WindowOpen,
        PushBack,
        PushWall,
        Sweep,
        SweepInto,
        Soccer,
        CoffeePush,
        CoffeePull,
        PlateSlide,
        PlateSlideSide,
        PlateSlideBack,
        PlateSlideBackSide,
        Assembly,
        Disassemble,
        Hammer,
        StickPush,
        StickPull,
        PegInsertSide,
        PegUnplugSide,
    )
}
"""The classes by Meta-World's names."""
